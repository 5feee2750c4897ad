//! Where the bytes of a transfer come from.

use std::io;
use std::sync::Arc;

/// A file to be sent: the same bytes whenever they are read.
pub trait Image {
    /// How many bytes it has, where that is known beforehand. Just as many are sent, whatever there is to read;
    /// fewer are an error.
    fn size(&self) -> Option<u64>;

    /// Fills `into` from its start with bytes from `offset` on, and says how many; 0 is the end of the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: these bytes are not here yet, ask again later. Any other error ends the
    /// transfer: the client is told that the file is damaged after [`io::ErrorKind::InvalidData`], that who has it
    /// does not give it after [`io::ErrorKind::ConnectionAborted`], else that it could not be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl Image for [u8] {
    fn size(&self) -> Option<u64> {
        Some(self.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

impl<T: Image + ?Sized> Image for Arc<T> {
    fn size(&self) -> Option<u64> {
        T::size(self)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        T::read_at(self, offset, into)
    }
}

/// Reads until `into` is full or the image ends; says how many bytes there were.
///
/// # Errors
/// As [`Image::read_at`]; [`io::ErrorKind::UnexpectedEof`] when there are fewer than [`Image::size`] says.
pub(crate) fn read_full<I: Image + ?Sized>(
    image: &I,
    offset: u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let rest = image.size().map_or(u64::MAX, |size| size.saturating_sub(offset));
    let wanted = into.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
    let into = into.get_mut(..wanted).unwrap_or_default();
    let mut done = 0;
    while let Some(room) = into.get_mut(done..).filter(|room| !room.is_empty()) {
        match image.read_at(offset + done as u64, room) {
            Ok(0) => break,
            Ok(count) => done += count.min(room.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if done < wanted && image.size().is_some() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
    }
    Ok(done)
}
