//! What is in the file: its tables, and the transactions on them.

use std::net::Ipv4Addr;

use offhook_model::{Lease, LeaseWrite};
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use crate::error::Fault;
use crate::record;

/// The format version this program writes. A file of an earlier one is migrated when it is opened, one of a
/// later version is refused.
pub const VERSION: u64 = 1;

/// The one table that every format version has, with the version in it.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
/// How many leases there are, and the wrapping sum of their checksums. With them a lease that is missing, or
/// is an earlier one of its address, shows like one whose bytes are wrong.
const META_COUNT: &str = "count";
const META_SUM: &str = "sum";

/// Address → record.
const LEASES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("leases");

/// Makes the tables in an empty database.
pub(crate) fn initialise(db: &Database) -> Result<(), Fault> {
    let transaction = begin(db)?;
    transaction.open_table(LEASES)?;
    write_totals(&transaction, Totals::default())?;
    write_version(&transaction, VERSION)?;
    Ok(transaction.commit()?)
}

/// A write transaction that is on disk once it is committed.
pub(crate) fn begin(db: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

/// The format version of the file.
pub(crate) fn version(db: &Database) -> Result<u64, Fault> {
    let meta = db.begin_read()?.open_table(META)?;
    let version = meta.get(META_VERSION)?.map(|version| version.value());
    version.ok_or_else(|| Fault::Damaged("it has no format version".to_owned()))
}

pub(crate) fn write_version(transaction: &WriteTransaction, version: u64) -> Result<(), Fault> {
    transaction.open_table(META)?.insert(META_VERSION, version)?;
    Ok(())
}

/// Every lease, by address; all of them are what was written, and none is missing.
pub(crate) fn load(db: &Database) -> Result<Vec<Lease>, Fault> {
    let transaction = db.begin_read()?;
    let meta = transaction.open_table(META)?;
    let table = transaction.open_table(LEASES)?;
    let expected = totals(&meta)?;
    let mut found = Totals::default();
    let mut leases = Vec::new();
    for entry in table.iter()? {
        let (address, record) = entry?;
        let (address, record) = (Ipv4Addr::from(address.value()), record.value());
        let lease = record::decode(address, record)
            .ok_or_else(|| Fault::Damaged(format!("the lease of {address} is not readable")))?;
        found.add(record);
        leases.push(lease);
    }
    if found != expected {
        return Err(Fault::Damaged(format!(
            "it holds {} leases where {} were written{}",
            found.count,
            expected.count,
            if found.count == expected.count { ", and not the same ones" } else { "" },
        )));
    }
    Ok(leases)
}

/// Applies `writes` in order, all or none of them, and returns once they are on disk.
pub(crate) fn apply(db: &Database, writes: &[LeaseWrite]) -> Result<(), Fault> {
    let transaction = begin(db)?;
    {
        let mut totals = totals(&transaction.open_table(META)?)?;
        let mut table = transaction.open_table(LEASES)?;
        let mut bytes = Vec::with_capacity(256);
        for write in writes {
            let replaced = match write {
                LeaseWrite::Put(lease) => {
                    bytes.clear();
                    record::encode(lease, &mut bytes);
                    totals.add(&bytes);
                    table.insert(lease.address.to_bits(), bytes.as_slice())?
                }
                LeaseWrite::Remove(address) => table.remove(address.to_bits())?,
            };
            if let Some(record) = replaced {
                totals.take(record.value());
            }
        }
        write_totals(&transaction, totals)?;
    }
    Ok(transaction.commit()?)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    count: u64,
    sum: u64,
}

impl Totals {
    fn add(&mut self, record: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(record::checksum(record).into());
    }

    fn take(&mut self, record: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(record::checksum(record).into());
    }
}

fn totals(meta: &impl ReadableTable<&'static str, u64>) -> Result<Totals, Fault> {
    let value = |key| -> Result<u64, Fault> {
        let value = meta.get(key)?.map(|value| value.value());
        value.ok_or_else(|| Fault::Damaged(format!("its `{key}` is missing")))
    };
    Ok(Totals { count: value(META_COUNT)?, sum: value(META_SUM)? })
}

fn write_totals(transaction: &WriteTransaction, totals: Totals) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_COUNT, totals.count)?;
    meta.insert(META_SUM, totals.sum)?;
    Ok(())
}
