//! Checks across sections: what is right by itself and wrong together.

use std::path::Path;

use crate::Files;
use crate::read::{ClassFacts, Facts};
use crate::report::Report;

pub(crate) fn all(
    _facts: &Facts,
    _catalogue: &[ClassFacts],
    _base: &Path,
    _files: &dyn Files,
    _report: &Report,
) {
}
