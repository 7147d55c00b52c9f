//! `gradkin experiment`: that the command runs the experiment and says where its page is. What the
//! experiments find is tested where they are.

use crate::support::Folder;

#[test]
fn the_toy_experiment_writes_its_page() {
    let folder = Folder::new();
    let ran = folder.run("experiment toy --quick -o results").succeeds();
    assert!(ran.stderr.contains("wrote results/index.md"), "{ran:?}");
    let page = std::fs::read_to_string(folder.file("results/index.md")).unwrap();
    assert!(page.contains("## What was found"), "{page}");
    for word in page.split(['(', ')']).filter(|word| word.ends_with(".svg")) {
        assert!(folder.file("results").join(word).exists(), "{word}");
    }
}

#[test]
fn experiments_are_named() {
    let folder = Folder::new();
    let ran = folder.run("experiment cifar");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("toy, mnist, registration"), "{ran:?}");
}
