//! Slots by number, in pieces: it grows without moving what is in it.

/// Slots in a piece, as a power of two.
const PIECE: u32 = 12;

/// So that what is as long as a line of the cache lies in one.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Slot<T>(Option<T>);

pub(super) struct Slab<T> {
    pieces: Vec<Vec<Slot<T>>>,
    vacant: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { pieces: Vec::new(), vacant: Vec::new(), len: 0 }
    }

    /// How many slots there are, vacant or not.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.pieces.get((slot >> PIECE) as usize)?.get(place(slot))?.0.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.pieces.get_mut((slot >> PIECE) as usize)?.get_mut(place(slot))?.0.as_mut()
    }

    /// Puts something into a vacant slot.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.vacant.pop() {
            let piece = self.pieces.get_mut((slot >> PIECE) as usize);
            if let Some(vacant) = piece.and_then(|piece| piece.get_mut(place(slot))) {
                vacant.0 = Some(value);
            }
            return slot;
        }
        let slot = self.len as u32;
        self.len += 1;
        match self.pieces.last_mut().filter(|piece| piece.len() < 1 << PIECE) {
            Some(piece) => piece.push(Slot(Some(value))),
            None => {
                let mut piece = Vec::with_capacity(1 << PIECE);
                piece.push(Slot(Some(value)));
                self.pieces.push(piece);
            }
        }
        slot
    }

    /// Takes what is in a slot, which is vacant then.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let piece = self.pieces.get_mut((slot >> PIECE) as usize)?;
        let value = piece.get_mut(place(slot))?.0.take()?;
        self.vacant.push(slot);
        Some(value)
    }

    /// What is in the slots from one on, in their order.
    pub(super) fn from(&self, slot: usize) -> impl Iterator<Item = Option<&T>> {
        let pieces = self.pieces.get(slot >> PIECE..).unwrap_or_default();
        let slots = pieces.iter().flatten().skip(place(slot as u32));
        slots.map(|slot| slot.0.as_ref())
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = T> {
        self.pieces.into_iter().flatten().filter_map(|slot| slot.0)
    }
}

fn place(slot: u32) -> usize {
    (slot & ((1 << PIECE) - 1)) as usize
}
