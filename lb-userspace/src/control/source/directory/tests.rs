//! The directory source on real files: what a scan finds, and what it keeps. Does not wait for inotify.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

struct Case {
    root: tempfile::TempDir,
    directory: Directory,
    now: Instant,
}

impl Case {
    fn new(limits: &config::Objects) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(root.path(), limits).expect("readable");
        Self { root, directory, now: Instant::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("writable");
    }

    /// Scans, and compares the objects by name and the Problems by reason.
    fn check(&mut self, changed: bool, objects: &[&str], problems: &[&str]) -> Scan {
        let scan = self.directory.scan(self.now, &mut |_| false);
        self.compare(objects, problems);
        assert_eq!(scan.changed, changed);
        scan
    }

    fn compare(&self, objects: &[&str], problems: &[&str]) {
        let names = ["a", "b", "c", "d", "e"];
        let key = |name: &str| ObjectRef::new(Kind::ConfigMap, "default", name);
        let got: Vec<&str> =
            names.into_iter().filter(|name| self.directory.store().get(&key(name)).is_some()).collect();
        assert_eq!(got, objects, "{:#?}", self.directory.problems());
        assert_eq!(self.directory.store().len(), objects.len());
        let got: Vec<&str> = self.directory.problems().iter().map(|p| p.reason).collect();
        assert_eq!(got, problems, "{:#?}", self.directory.problems());
    }
}

fn object(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn unlimited() -> config::Objects {
    config::Objects::default()
}

#[test]
fn files_come_change_and_go() {
    let mut case = Case::new(&unlimited());
    case.check(false, &[], &[]);
    case.write("1.yaml", object("a") + &object("b"));
    fs::create_dir_all(case.path("sub/sub")).expect("made");
    case.write("sub/sub/2.yml", object("c"));
    case.write("3.json", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"}}"#);
    for passed_over in [".1.yaml.swp", "1.yaml~", "#1.yaml#", "4913", "notes.txt", ".hidden.yaml"] {
        case.write(passed_over, object("e"));
    }
    case.check(true, &["a", "b", "c", "d"], &[]);
    case.check(false, &["a", "b", "c", "d"], &[]);
    case.write("1.yaml", object("b"));
    case.check(true, &["b", "c", "d"], &[]);
    fs::remove_dir_all(case.path("sub")).expect("removed");
    case.check(true, &["b", "d"], &[]);
    fs::rename(case.path("1.yaml"), case.path("9.yaml")).expect("renamed");
    case.check(true, &["b", "d"], &[]);
}

#[test]
fn a_touch_changes_nothing_and_a_rename_over_does() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    case.check(true, &["a"], &[]);
    case.write("1.yaml", object("a"));
    case.check(false, &["a"], &[]);
    case.write(".1.yaml.new", object("b"));
    fs::rename(case.path(".1.yaml.new"), case.path("1.yaml")).expect("renamed");
    case.check(true, &["b"], &[]);
}

#[test]
fn a_broken_file_keeps_its_own_objects_only() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a") + &object("b"));
    case.write("2.yaml", object("c"));
    case.check(true, &["a", "b", "c"], &[]);
    case.write("1.yaml", object("a") + "---\nkind: [\n");
    fs::remove_file(case.path("2.yaml")).expect("removed");
    case.check(true, &["a", "b"], &["Syntax"]);
    case.check(false, &["a", "b"], &["Syntax"]);
    case.write("1.yaml", object("d") + "---\nkind: [\n");
    case.check(true, &["a", "b", "d"], &["Syntax"]);
    case.write("1.yaml", [0x7f, b'E', b'L', b'F', 0xff, 0]);
    case.check(true, &["a", "b", "d"], &["NotText"]);
    case.write("1.yaml", object("d"));
    case.check(true, &["d"], &[]);
}

#[test]
fn two_files_with_one_object() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    case.write("2.yaml", object("a"));
    case.check(true, &["a"], &["DuplicateObject"]);
    fs::remove_file(case.path("1.yaml")).expect("removed");
    case.check(true, &["a"], &[]);
}

#[test]
fn an_empty_file_means_no_objects_when_it_stays_empty() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    case.check(true, &["a"], &[]);
    case.write("1.yaml", "");
    let scan = case.check(false, &["a"], &[]);
    assert_eq!(scan.again, Some(case.now + SETTLE));
    case.now += SETTLE;
    case.check(true, &[], &[]);
}

#[test]
fn a_file_that_is_being_written_waits() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    case.write("2.yaml", object("b"));
    case.check(true, &["a", "b"], &[]);
    case.write("1.yaml", object("c"));
    case.write("2.yaml", object("d"));
    let busy = fs::canonicalize(case.path("1.yaml")).expect("there");
    assert!(case.directory.scan(case.now, &mut |path| path == busy).changed);
    case.compare(&["a", "d"], &[]);
    case.check(true, &["c", "d"], &[]);
}

#[test]
fn a_mounted_config_map_changes_at_once() {
    let mut case = Case::new(&unlimited());
    for (version, name) in [("..2026_1", "a"), ("..2026_2", "b")] {
        fs::create_dir(case.path(version)).expect("made");
        case.write(&format!("{version}/1.yaml"), object(name));
    }
    symlink("..2026_1", case.path("..data")).expect("linked");
    symlink("..data/1.yaml", case.path("1.yaml")).expect("linked");
    case.check(true, &["a"], &[]);
    let real = fs::canonicalize(case.path("..2026_1")).expect("there");
    assert!(case.directory.directories().contains_key(&real));
    symlink("..2026_2", case.path("..data_tmp")).expect("linked");
    fs::rename(case.path("..data_tmp"), case.path("..data")).expect("renamed");
    fs::remove_dir_all(case.path("..2026_1")).expect("removed");
    case.check(true, &["b"], &[]);
    fs::remove_dir_all(case.path("..2026_2")).expect("removed");
    case.check(true, &["b"], &["Unreadable"]);
}

#[test]
fn a_large_file_is_refused_unread() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    case.check(true, &["a"], &[]);
    let file = fs::File::create(case.path("1.yaml")).expect("made");
    // Sparse: had it been read, 100 MB of NUL would be no YAML.
    file.set_len(100_000_000).expect("grown");
    case.check(true, &["a"], &["FileTooLarge"]);
    let problem = case.directory.problems().remove(0);
    assert!(problem.message.contains("100000000") && problem.message.contains("16777216"), "{problem}");
}

#[test]
fn more_objects_than_allowed_keep_the_last_good_state() {
    let mut case = Case::new(&config::Objects { objects_max: 2, ..unlimited() });
    case.write("1.yaml", object("a"));
    case.write("2.yaml", object("b"));
    case.check(true, &["a", "b"], &[]);
    case.write("2.yaml", object("b") + &object("c"));
    case.check(true, &["a", "b"], &["TooManyObjects"]);
    fs::remove_file(case.path("1.yaml")).expect("removed");
    case.check(true, &["b", "c"], &[]);
}

#[test]
fn more_files_than_allowed_leave_the_known_ones() {
    let mut case = Case::new(&config::Objects { files_max: 1, ..unlimited() });
    case.write("2.yaml", object("b"));
    case.check(true, &["b"], &[]);
    case.write("1.yaml", object("a"));
    case.check(true, &["b"], &["TooManyFiles"]);
}

#[test]
fn what_is_no_file_does_not_block() {
    let mut case = Case::new(&unlimited());
    nix::unistd::mkfifo(&case.path("1.yaml"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    fs::create_dir(case.path("2.yaml")).expect("made");
    symlink("..", case.path("loop")).expect("linked");
    symlink(".", case.path("self")).expect("linked");
    let deep = (0..=walk::SUBDIRECTORIES_DEEP_MAX).map(|i| format!("d{i}")).collect::<Vec<_>>().join("/");
    fs::create_dir_all(case.path(&deep)).expect("made");
    case.write(&format!("{deep}/a.yaml"), object("a"));
    // The link to the parent may lead to other tests' files, but never in circles.
    fs::remove_file(case.path("loop")).expect("removed");
    case.check(true, &[], &["TooDeep"]);
}

#[test]
fn a_directory_that_vanishes_keeps_serving() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    case.check(true, &["a"], &[]);
    let away = case.root.path().with_extension("away");
    fs::rename(case.root.path(), &away).expect("renamed");
    case.check(true, &["a"], &["Unreadable"]);
    fs::rename(&away, case.root.path()).expect("renamed");
    case.check(true, &["a"], &[]);
    assert!(matches!(Directory::open(&away, &unlimited()), Err(SourceError::Unreadable { .. })));
}

#[test]
fn a_known_file_can_be_looked_at_alone() {
    let mut case = Case::new(&unlimited());
    case.write("1.yaml", object("a"));
    fs::create_dir(case.path("sub")).expect("made");
    case.write("sub/2.yaml", object("b"));
    case.write("3.yaml", object("c"));
    symlink(case.path("3.yaml"), case.path("4.yaml")).expect("linked");
    case.check(true, &["a", "b", "c"], &[reason::DUPLICATE_OBJECT]);
    let real = fs::canonicalize(case.root.path()).expect("there");
    let look = |case: &mut Case, name: &str| {
        case.directory.look_at([&*real.join(name)].into_iter(), case.now).map(|scan| scan.changed)
    };
    case.write("1.yaml", object("a") + &object("d"));
    case.write("sub/2.yaml", object("b") + &object("e"));
    assert_eq!(look(&mut case, "1.yaml"), Some(true));
    case.compare(&["a", "b", "c", "d"], &[reason::DUPLICATE_OBJECT]);
    assert_eq!(look(&mut case, "sub/2.yaml"), Some(true));
    case.compare(&["a", "b", "c", "d", "e"], &[reason::DUPLICATE_OBJECT]);
    assert_eq!(look(&mut case, "1.yaml"), Some(false));
    case.write("5.yaml", object("x"));
    for unclear in ["3.yaml", "4.yaml", "5.yaml", "sub", "gone.yaml"] {
        assert_eq!(look(&mut case, unclear), None, "{unclear}");
    }
}
