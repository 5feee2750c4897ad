//! From one format version to the next.

use redb::{Database, WriteTransaction};

use crate::error::Fault;
use crate::tables::{add_journal, begin, version, write_version};

/// Turns the tables of one version into those of the next, inside of one transaction.
pub(crate) type Migration = fn(&WriteTransaction) -> Result<(), Fault>;

/// The step from version 1 to 2 is the first of them, that from 2 to 3 will be the second.
pub(crate) const MIGRATIONS: &[Migration] = &[add_journal];

/// Brings a file up to date. All steps are one transaction: it is either as it was or of the latest version.
pub(crate) fn migrate(db: &Database, migrations: &[Migration]) -> Result<(), Fault> {
    let found = version(db)?;
    let known = migrations.len() as u64 + 1;
    let done = match found {
        0 => return Err(Fault::Damaged("it has format version 0".to_owned())),
        found if found > known => return Err(Fault::Newer(found)),
        found => (found - 1) as usize,
    };
    let due = migrations.get(done..).unwrap_or_default();
    if due.is_empty() {
        return Ok(());
    }
    let transaction = begin(db)?;
    for migration in due {
        migration(&transaction)?;
    }
    write_version(&transaction, known)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;
    use redb::{ReadableDatabase, ReadableTable, TableDefinition};

    use super::*;
    use crate::tables::{VERSION, initialise};

    const STEPS: TableDefinition<'_, u64, u64> = TableDefinition::new("steps");

    fn step(transaction: &WriteTransaction, number: u64) -> Result<(), Fault> {
        let mut steps = transaction.open_table(STEPS)?;
        let before = steps.iter()?.count() as u64;
        steps.insert(number, before)?;
        Ok(())
    }

    const TO_TWO: Migration = |transaction| step(transaction, 2);
    const TO_THREE: Migration = |transaction| step(transaction, 3);
    const FAILS: Migration = |_| Err(Fault::Damaged("on purpose".to_owned()));

    fn version_one() -> Database {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        initialise(&db).unwrap();
        let transaction = begin(&db).unwrap();
        write_version(&transaction, 1).unwrap();
        transaction.commit().unwrap();
        db
    }

    fn steps(db: &Database) -> Vec<(u64, u64)> {
        let Ok(table) = db.begin_read().unwrap().open_table(STEPS) else { return Vec::new() };
        let steps = table.iter().unwrap().map(|entry| entry.unwrap());
        steps.map(|(number, before)| (number.value(), before.value())).collect()
    }

    #[test]
    fn the_version_written_is_one_more_than_there_are_migrations() {
        assert_eq!(VERSION, MIGRATIONS.len() as u64 + 1);
    }

    #[test]
    fn each_step_that_is_due_is_taken_once_and_in_order() {
        let db = version_one();
        migrate(&db, &[TO_TWO]).unwrap();
        assert_eq!((version(&db).unwrap(), steps(&db)), (2, vec![(2, 0)]));
        migrate(&db, &[TO_TWO, TO_THREE]).unwrap();
        migrate(&db, &[TO_TWO, TO_THREE]).unwrap();
        assert_eq!((version(&db).unwrap(), steps(&db)), (3, vec![(2, 0), (3, 1)]));

        let db = version_one();
        migrate(&db, &[TO_TWO, TO_THREE]).unwrap();
        assert_eq!((version(&db).unwrap(), steps(&db)), (3, vec![(2, 0), (3, 1)]));
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let db = version_one();
        assert!(migrate(&db, &[TO_TWO, FAILS]).is_err());
        assert_eq!((version(&db).unwrap(), steps(&db)), (1, vec![]));
    }

    #[test]
    fn a_later_version_is_refused() {
        let db = version_one();
        migrate(&db, &[TO_TWO]).unwrap();
        assert!(matches!(migrate(&db, &[]), Err(Fault::Newer(2))));
        assert_eq!(version(&db).unwrap(), 2);
    }
}
