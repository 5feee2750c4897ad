//! What is in the file: its tables, and the transactions on them.

use std::net::Ipv4Addr;

use offhook_model::Lease;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use crate::error::Fault;
use crate::journal::Latest;
use crate::record;

/// The format version this program writes. A file of an earlier one is migrated when it is opened, one of a
/// later version is refused.
pub const VERSION: u64 = 2;

/// The one table that every format version has, with the version in it.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
/// How many leases there are, and the wrapping sum of their checksums. With them a lease that is missing, or
/// is an earlier one of its address, shows like one whose bytes are wrong.
const META_COUNT: &str = "count";
const META_SUM: &str = "sum";

/// The journal's batch up to which everything is in here.
const META_FOLDED: &str = "folded";
/// What the journal files bear so that they are not mistaken for another store's; missing until they are there.
const META_JOURNAL: &str = "journal";

/// Address → record.
const LEASES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("leases");

/// Makes the tables in an empty database.
pub(crate) fn initialise(db: &Database) -> Result<(), Fault> {
    let transaction = begin(db)?;
    transaction.open_table(LEASES)?;
    write_totals(&transaction, Totals::default())?;
    write_folded(&transaction, 0)?;
    write_version(&transaction, VERSION)?;
    Ok(transaction.commit()?)
}

/// From version 1, which had no journal, to 2.
pub(crate) fn add_journal(transaction: &WriteTransaction) -> Result<(), Fault> {
    write_folded(transaction, 0)
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

/// Up to which batch of the journal everything is in the tables.
pub(crate) fn folded(db: &Database) -> Result<u64, Fault> {
    value(&db.begin_read()?.open_table(META)?, META_FOLDED)
}

/// What the journal files of this store bear, once there are any.
pub(crate) fn journal(db: &Database) -> Result<Option<u64>, Fault> {
    Ok(db.begin_read()?.open_table(META)?.get(META_JOURNAL)?.map(|journal| journal.value()))
}

/// Notes that there are journal files.
pub(crate) fn write_journal(db: &Database, journal: u64) -> Result<(), Fault> {
    let transaction = begin(db)?;
    transaction.open_table(META)?.insert(META_JOURNAL, journal)?;
    Ok(transaction.commit()?)
}

/// How many leases there are.
pub(crate) fn count(db: &Database) -> Result<u64, Fault> {
    value(&db.begin_read()?.open_table(META)?, META_COUNT)
}

/// Every lease, by address; all of them are what was written, and none is missing. What `latest` says of an
/// address counts instead of what is in the table.
pub(crate) fn load(db: &Database, mut latest: Latest) -> Result<Vec<Lease>, Fault> {
    let transaction = db.begin_read()?;
    let meta = transaction.open_table(META)?;
    let table = transaction.open_table(LEASES)?;
    let expected = totals(&meta)?;
    let mut found = Totals::default();
    let mut leases =
        Vec::with_capacity(usize::try_from(expected.count).unwrap_or_default().min(1 << 24));
    for entry in table.iter()? {
        let (address, record) = entry?;
        let (address, record) = (Ipv4Addr::from(address.value()), record.value());
        let lease = record::decode(address, record)
            .ok_or_else(|| Fault::Damaged(format!("the lease of {address} is not readable")))?;
        found.add(record);
        leases.extend(latest.remove(&address).unwrap_or(Some(lease)));
    }
    if found != expected {
        return Err(Fault::Damaged(format!(
            "it holds {} leases where {} were written{}",
            found.count,
            expected.count,
            if found.count == expected.count { ", and not the same ones" } else { "" },
        )));
    }
    leases.extend(latest.into_values().flatten());
    leases.sort_by_key(|lease| lease.address);
    Ok(leases)
}

/// Makes the records of addresses what is given, or removes them, all or none, together with the note that the
/// journal is in here up to the batch `folded`. Returns once it is on disk.
pub(crate) fn fold<'a>(
    db: &Database,
    latest: impl Iterator<Item = (Ipv4Addr, Option<&'a [u8]>)>,
    folded: u64,
) -> Result<(), Fault> {
    let transaction = begin(db)?;
    {
        let mut totals = totals(&transaction.open_table(META)?)?;
        let mut table = transaction.open_table(LEASES)?;
        for (address, record) in latest {
            let replaced = match record {
                Some(record) => {
                    totals.add(record);
                    table.insert(address.to_bits(), record)?
                }
                None => table.remove(address.to_bits())?,
            };
            if let Some(record) = replaced {
                totals.take(record.value());
            }
        }
        write_totals(&transaction, totals)?;
        write_folded(&transaction, folded)?;
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
    Ok(Totals { count: value(meta, META_COUNT)?, sum: value(meta, META_SUM)? })
}

fn value(meta: &impl ReadableTable<&'static str, u64>, key: &str) -> Result<u64, Fault> {
    let value = meta.get(key)?.map(|value| value.value());
    value.ok_or_else(|| Fault::Damaged(format!("its `{key}` is missing")))
}

fn write_folded(transaction: &WriteTransaction, folded: u64) -> Result<(), Fault> {
    transaction.open_table(META)?.insert(META_FOLDED, folded)?;
    Ok(())
}

fn write_totals(transaction: &WriteTransaction, totals: Totals) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_COUNT, totals.count)?;
    meta.insert(META_SUM, totals.sum)?;
    Ok(())
}
