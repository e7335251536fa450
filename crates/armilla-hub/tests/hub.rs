//! Pull and push against a hub in this process.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; most of this binary is helpers outside of test functions"
)]

mod server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use armilla_hub::{Error, Hub, Kind, Push, Repository, Settings, Snapshot};
use server::{Server, TOKEN};

/// A hub with a dataset, and the settings to reach it with an empty cache.
fn hub() -> (Server, Settings, tempfile::TempDir) {
    let server = Server::start();
    server.add("datasets/lab/cubes", "meta/info.json", b"{}");
    server.add("datasets/lab/cubes", "videos/top view/0.mp4", &video());
    server.add("datasets/lab/cubes", "empty", b"");
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        endpoint: server.endpoint.clone(),
        token: None,
        cache: folder.path().join("hub"),
        retry_pause: Duration::from_millis(1),
    };
    (server, settings, folder)
}

fn video() -> Vec<u8> {
    (0..50_000_u32).map(|i| ((i * i) >> 3) as u8).collect()
}

fn cubes() -> Repository {
    Repository::new(Kind::Dataset, "lab/cubes", None).unwrap()
}

fn pull(settings: &Settings) -> armilla_hub::Result<Snapshot> {
    Hub::new(settings).pull(&cubes(), &mut |_, _, _| true)
}

fn assert_whole(snapshot: &Snapshot) {
    let files = ["empty", "meta/info.json", "videos/top view/0.mp4"];
    assert_eq!(snapshot.files, files);
    let read = |path: &str| fs::read(snapshot.folder.join(path)).unwrap();
    assert_eq!(files.map(read), [Vec::new(), b"{}".to_vec(), video()]);
}

/// Files of the cache that are not whole.
fn unfinished(settings: &Settings) -> Vec<std::fs::DirEntry> {
    let blobs = settings.cache.join("datasets--lab--cubes/blobs");
    let entries = fs::read_dir(blobs).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().contains("incomplete"))
        .collect()
}

#[test]
fn a_repository_comes_whole_and_only_once() {
    let (server, settings, folder) = hub();
    let mut seen = Vec::new();
    let snapshot = Hub::new(&settings)
        .pull(&cubes(), &mut |path, done, total| {
            seen.push((path.to_owned(), done, total));
            true
        })
        .unwrap();
    assert_whole(&snapshot);
    let total = video().len() as u64 + 2;
    assert!(
        seen.windows(2).all(|pair| pair[0].1 <= pair[1].1),
        "{seen:?}"
    );
    assert_eq!(
        seen.last().map(|last| (last.1, last.2)),
        Some((total, total))
    );
    // In the form that the Python packages look for.
    let repository = settings.cache.join("datasets--lab--cubes");
    let reference = fs::read_to_string(repository.join("refs/main")).unwrap();
    assert_eq!(reference, snapshot.commit);
    assert_eq!(
        snapshot.folder,
        repository.join("snapshots").join(reference)
    );
    let asked = server.state().requests.len();
    assert_whole(&pull(&settings).unwrap());
    assert_eq!(server.state().requests.len(), asked + 1, "only the listing");
    let out = folder.path().join("out/cubes");
    Hub::new(&settings).export(&snapshot, &out).unwrap();
    assert_whole(&Snapshot {
        folder: out.clone(),
        ..snapshot.clone()
    });
    let error = Hub::new(&settings).export(&snapshot, &out).unwrap_err();
    assert!(error.to_string().contains("there already"), "{error}");
}

#[test]
fn a_cut_download_goes_on_from_where_it_was() {
    let (server, settings, _folder) = hub();
    // The hub gives up for good in the middle of the video.
    server.state().cut = Some((20_000, 1));
    let mut stop_at = |path: &str, done: u64, _: u64| !(path.ends_with("mp4") && done > 2);
    let error = Hub::new(&settings)
        .pull(&cubes(), &mut stop_at)
        .unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    let kept = unfinished(&settings)[0].metadata().unwrap().len();
    assert!(kept > 0 && kept < 50_000, "{kept}");
    server.state().requests.clear();
    // And now twice more within one pull.
    server.state().cut = Some((10_000, 2));
    assert_whole(&pull(&settings).unwrap());
    let ranges: Vec<_> = server
        .state()
        .requests
        .iter()
        .filter(|request| request.contains("/store/"))
        .map(|request| request.rsplit(' ').next().unwrap().to_owned())
        .collect();
    let expected = [0, 10_000, 20_000].map(|more| format!("bytes={}-", kept + more));
    assert_eq!(ranges, expected);
    assert!(unfinished(&settings).is_empty());
}

#[test]
fn a_server_without_ranges_sends_all_anew() {
    let (server, settings, _folder) = hub();
    server.state().cut = Some((20_000, 2));
    server.state().without_ranges = true;
    assert_whole(&pull(&settings).unwrap());
}

#[test]
fn wrong_bytes_are_refused_and_forgotten() {
    for path in ["videos/top view/0.mp4", "meta/info.json"] {
        let (server, settings, _folder) = hub();
        server.state().changed = Some(path.to_owned());
        let error = pull(&settings).unwrap_err();
        let Error::Hash { path: found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(found, path);
        assert!(unfinished(&settings).is_empty());
        let error = Hub::new(&settings).offline(&cubes()).unwrap_err();
        assert!(matches!(error, Error::NotCached { .. }), "{error}");
        server.state().changed = None;
        assert_whole(&pull(&settings).unwrap());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (server, settings, _folder) = hub();
    let pull_of = |name: &str, revision: Option<&str>, settings: &Settings| {
        let repository = Repository::new(Kind::Dataset, name, revision).unwrap();
        let error = Hub::new(settings).pull(&repository, &mut |_, _, _| true);
        error.unwrap_err().to_string()
    };
    let error = pull_of("lab/none", None, &settings);
    assert!(
        error.contains("404: Repository not found") && error.contains("--type"),
        "{error}"
    );
    let error = pull_of("lab/cubes", Some("v9"), &settings);
    assert!(
        error.contains("Invalid rev id") && error.contains("--revision"),
        "{error}"
    );
    server.state().private = true;
    let error = pull_of("lab/cubes", None, &settings);
    assert!(
        error.contains("401") && error.contains("HF_TOKEN"),
        "{error}"
    );
    let signed = Settings {
        token: Some(TOKEN.to_owned()),
        ..settings.clone()
    };
    assert!(!format!("{signed:?}").contains(TOKEN));
    assert_whole(&pull(&signed).unwrap());
    let nobody = Settings {
        endpoint: "http://127.0.0.1:9".to_owned(),
        ..settings
    };
    let error = pull_of("lab/cubes", None, &nobody);
    assert!(error.contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for name in ["../../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil"] {
        let (server, settings, folder) = hub();
        server.state().listed_as = Some(name.to_owned());
        let error = pull(&settings).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}

#[test]
fn the_cache_alone_is_enough_or_says_what_is_missing() {
    let (server, settings, _folder) = hub();
    let offline = || Hub::new(&settings).offline(&cubes());
    let error = offline().unwrap_err().to_string();
    assert!(
        error.contains("dataset lab/cubes@main") && error.contains("--offline"),
        "{error}"
    );
    let pulled = pull(&settings).unwrap();
    let asked = server.state().requests.len();
    assert_eq!(offline().unwrap(), pulled);
    let by_commit = Repository::new(Kind::Dataset, "lab/cubes", Some(&pulled.commit)).unwrap();
    assert_eq!(Hub::new(&settings).offline(&by_commit).unwrap(), pulled);
    assert_eq!(server.state().requests.len(), asked);
    fs::remove_file(pulled.folder.join("meta/info.json")).unwrap();
    let error = offline().unwrap_err().to_string();
    assert!(error.contains("`meta/info.json` (1 of 3 files)"), "{error}");
}

#[test]
fn a_pull_that_broke_off_is_not_whole() {
    let (_server, settings, folder) = hub();
    let elsewhere = Settings {
        cache: folder.path().join("elsewhere"),
        ..settings.clone()
    };
    let commit = pull(&elsewhere).unwrap().commit;
    let by_commit = Repository::new(Kind::Dataset, "lab/cubes", Some(&commit)).unwrap();
    let hub = Hub::new(&settings);
    let mut stop = |path: &str, _: u64, _: u64| path != "meta/info.json";
    let error = hub.pull(&by_commit, &mut stop).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    let error = hub.offline(&by_commit).unwrap_err().to_string();
    assert!(error.contains("of 3 files)"), "{error}");
    assert_whole(&hub.pull(&by_commit, &mut |_, _, _| true).unwrap());
    assert_whole(&hub.offline(&by_commit).unwrap());
}

#[test]
fn many_may_pull_the_same_at_once() {
    let (_server, settings, _folder) = hub();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..8).map(|_| scope.spawn(|| pull(&settings))).collect();
        for pull in pulls {
            assert_whole(&pull.join().unwrap().unwrap());
        }
    });
}

fn write(folder: &Path, path: &str, contents: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

#[test]
fn what_is_pushed_comes_back() {
    for in_parts in [false, true] {
        let (server, mut settings, folder) = hub();
        settings.token = Some(TOKEN.to_owned());
        server.state().private = true;
        server.state().in_parts = in_parts;
        let source = folder.path().join("source");
        for (path, contents) in [
            ("meta/info.json", &b"{\"a\": 1}"[..]),
            ("videos/top view/0.mp4", &video()),
            ("empty", b""),
            (".recording/lock", b"not this"),
            ("notes.ignored", b"nor this"),
        ] {
            write(&source, path, contents);
        }
        let target = Repository::new(Kind::Model, "lab/new", None).unwrap();
        let options = Push {
            message: "Upload".to_owned(),
            tag: Some("v3.0".to_owned()),
            ..Push::default()
        };
        let hub = Hub::new(&settings);
        let push = || hub.push(&source, &target, &options, &mut |_, _, _| true);
        let pushed = push().unwrap();
        let files = ["empty", "meta/info.json", "videos/top view/0.mp4"];
        assert_eq!(pushed.uploaded, files);
        assert_eq!(pushed.ignored, ["notes.ignored"]);
        let snapshot = hub.pull(&target, &mut |_, _, _| true).unwrap();
        assert_eq!(pushed.commit.as_ref(), Some(&snapshot.commit));
        for path in files {
            let [there, here] = [&snapshot.folder, &source].map(|root| fs::read(root.join(path)));
            assert_eq!(there.unwrap(), here.unwrap(), "{path}");
        }
        // Again: nothing to do; then one file.
        let again = push().unwrap();
        assert_eq!((again.commit, again.unchanged), (None, 3));
        write(&source, "meta/info.json", b"{\"a\": 2}");
        server.state().requests.clear();
        assert_eq!(push().unwrap().uploaded, ["meta/info.json"]);
        let state = server.state();
        assert!(
            !state
                .requests
                .iter()
                .any(|request| request.starts_with("PUT"))
        );
        assert_eq!(state.tags["lab/new"], ["v3.0"]);
    }
}

#[test]
fn an_interrupted_push_leaves_out_what_is_in_the_storage() {
    let (server, settings, folder) = hub();
    let source = folder.path().join("source");
    write(&source, "a.bin", &video());
    write(&source, "b.bin", &video()[1..]);
    let target = Repository::new(Kind::Dataset, "lab/large", None).unwrap();
    let hub = Hub::new(&settings);
    let options = Push::default();
    let stop = &mut |path: &str, _: u64, _: u64| path != "b.bin";
    let error = hub.push(&source, &target, &options, stop).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    server.state().requests.clear();
    hub.push(&source, &target, &options, &mut |_, _, _| true)
        .unwrap();
    let state = server.state();
    let puts = state
        .requests
        .iter()
        .filter(|request| request.starts_with("PUT"));
    assert_eq!(puts.count(), 1, "{:?}", state.requests);
    assert_eq!(state.repositories["datasets/lab/large"]["a.bin"], video());
}

#[test]
fn what_cannot_be_pushed_is_named() {
    let (_server, settings, folder) = hub();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let hub = Hub::new(&settings);
    let push = |source: &Path, revision: Option<&str>| {
        let target = Repository::new(Kind::Dataset, "lab/cubes", revision).unwrap();
        let pushed = hub.push(source, &target, &Push::default(), &mut |_, _, _| true);
        pushed.unwrap_err().to_string()
    };
    assert!(push(&empty, None).contains("found none"));
    write(&empty, "a", b"a");
    let error = push(&empty, Some("nowhere"));
    assert!(error.contains("Invalid rev id"), "{error}");
}
