//! `docs/configuration.md` is what the code says.

#[test]
fn the_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let made = slmd::config::reference();
    if std::env::var_os("SLMD_WRITE_DOCS").is_some() {
        std::fs::write(path, &made).expect("writable");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/configuration.md is out of date: SLMD_WRITE_DOCS=1 cargo test --test configuration"
    );
}
