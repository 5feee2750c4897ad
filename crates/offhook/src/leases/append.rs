//! Adding to the configuration, in one step or not at all.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use tempfile::NamedTempFile;

use super::Stop;
use crate::control::Failure;

/// Appends `blocks` to the configuration `file`, if what comes of it can run.
pub(super) fn append(file: &Path, blocks: &str) -> Result<(), Stop> {
    let cannot = |doing: &'static str| {
        move |error: io::Error| {
            Stop::Failed(Failure::new(format!("cannot {doing} {}: {error}", file.display())))
        }
    };
    // A link stays one: what it points to is replaced.
    let real = fs::canonicalize(file).map_err(cannot("find"))?;
    let old = fs::read_to_string(&real).map_err(cannot("read"))?;
    let new = format!("{}\n\n{blocks}", old.trim_end_matches(['\n', ' ', '\t']));
    // Beside it, where what it names by relative paths is found as well.
    let draft = draft(&real, &new).map_err(cannot("write a copy of"))?;
    let loaded = offhook_config::load(draft.path());
    if loaded.site.is_none() {
        let diagnostics = loaded.diagnostics.render(io::stderr().is_terminal());
        let (draft, file) = (draft.path().to_string_lossy(), file.to_string_lossy());
        eprint!("{}", diagnostics.replace(&*draft, &file));
        eprintln!("nothing was appended: {file} could not run with it");
        return Err(Stop::Config);
    }
    replace(&real, draft).map_err(cannot("replace"))
}

fn draft(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn replace(path: &Path, file: NamedTempFile) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let before = fs::metadata(path)?;
    let now = file.as_file().metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
    }
    file.as_file().set_permissions(before.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const PHONE: &str = "[[phone]]\nmac = \"00:90:8f:12:34:56\"\naddress = \"10.250.1.20\"\n";

    fn lab() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/lab.toml");
        fs::copy(sample, directory.path().join("lab.toml")).unwrap();
        directory
    }

    #[test]
    fn a_phone_is_appended_through_a_link_and_the_mode_stays() {
        let directory = lab();
        let (real, link) = (directory.path().join("lab.toml"), directory.path().join("link.toml"));
        symlink("lab.toml", &link).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        append(&link, PHONE).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        let site = offhook_config::load(&real).site.unwrap();
        assert_eq!(site.phones.last().unwrap().address, Some("10.250.1.20".parse().unwrap()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_phone_that_is_listed_already_changes_nothing() {
        let directory = lab();
        let file = directory.path().join("lab.toml");
        append(&file, PHONE).unwrap();
        let before = fs::read(&file).unwrap();
        assert!(matches!(append(&file, PHONE), Err(Stop::Config)));
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
