use super::*;

#[test]
fn the_sample_site_is_a_site() {
    let loaded = load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/lab.toml")));
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
    assert!(loaded.site.is_some());
}
