#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::chain::Hash;
use crate::record;

fn line(seq: u64, user: u64) -> String {
    format!(
        "{{\"seq\":{seq},\"type\":\"event\",\"message_id\":\"m{seq}\",\"event_type\":\"identity.user.deleted\",\"kind\":\"user\",\
         \"timestamp\":\"2026-11-21T10:00:{:02}Z\",\"resource\":{{\"kind\":\"user\",\"id\":\"u{user}\",\"name\":\"{}\"}}}}\n",
        seq % 60,
        "x".repeat(5000)
    )
}

fn written(path: &Path, bytes: &[u8]) -> TrailFile {
    fs::write(path, bytes).unwrap();
    TrailFile::of(path).unwrap().unwrap()
}

/// About 3 MB in each of the ways a file can be packed; user 7 is in one record, user 3 in each thousandth.
fn files(dir: &Path) -> Vec<TrailFile> {
    let lines: Vec<_> = (1..=600_u64).map(|seq| line(seq, if seq == 333 { 7 } else { seq % 5 })).collect();
    let text = lines.concat().into_bytes();
    let frames = |most: usize| -> Vec<u8> {
        lines.chunks(most).flat_map(|lines| zstd::encode_all(lines.concat().as_bytes(), 1).unwrap()).collect()
    };
    // Frames that end anywhere, as others pack.
    let torn: Vec<u8> = text.chunks(700_001).flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gz, &text).unwrap();
    vec![
        written(&dir.join("plain"), &text),
        written(&dir.join("framed"), &frames(210)),
        written(&dir.join("one-frame"), &frames(1000)),
        written(&dir.join("torn"), &torn),
        written(&dir.join("gz"), &gz.finish().unwrap()),
    ]
}

#[test]
fn blocks_are_whole_lines_and_have_what_the_terms_say() {
    let dir = tempfile::tempdir().unwrap();
    for file in files(dir.path()) {
        build(&file).unwrap();
        build(&file).unwrap();
        let index = Index::open(&file).unwrap();
        let blocks = index.blocks();
        assert_eq!((index.records(), index.last()), (600, (600, Hash::of(line(600, 0).as_bytes()))));
        assert_eq!((blocks[0].first, blocks.last().unwrap().last), (1, 600));
        for pair in blocks.windows(2) {
            assert_eq!((pair[0].at + pair[0].len, pair[0].last + 1), (pair[1].at, pair[1].first), "{file:?}");
        }
        assert_eq!(blocks.last().unwrap().at + blocks.last().unwrap().len, file.len);
        let holding = |user: &str| index.holding(term(Class::Thing("user"), user)).unwrap();
        let [seven] = holding("u7")[..] else { panic!("{file:?}: {:?}", holding("u7")) };
        let block = blocks[seven as usize];
        assert!(block.first <= 333 && 333 <= block.last, "{block:?}");
        assert_eq!((holding("u3").len(), holding("u9").len()), (blocks.len(), 0));
        let both = [vec![term(Class::Thing("user"), "u7")], vec![term(Class::Message, "m333"), 5]];
        assert_eq!(index.candidates(&both).unwrap(), [seven]);
        assert!(index.candidates(&[both[0].clone(), vec![5]]).unwrap().is_empty());
        let is_parted = ["plain", "framed"].iter().any(|name| file.path.ends_with(name));
        assert!(!is_parted || blocks.len() > 2, "{file:?}");
    }
    assert!(
        fs::read_dir(dir.path()).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".new"))
    );
}

#[test]
fn an_index_of_another_file_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log.1");
    let text = line(1, 1) + &line(2, 2);
    let file = written(&path, text.as_bytes());
    assert!(matches!(Index::open(&file), Err(IndexError::Absent)));
    build(&file).unwrap();
    assert!(Index::open(&file).is_ok());
    for other in [text.clone() + &line(3, 3), line(2, 1) + &line(3, 2), text.replace("u2", "u3")] {
        assert!(matches!(Index::open(&written(&path, other.as_bytes())), Err(IndexError::Stale)), "{other}");
    }
    let index = path_of(&path);
    let mut bytes = fs::read(&index).unwrap();
    bytes[8] += 1;
    fs::write(&index, &bytes).unwrap();
    assert!(matches!(Index::open(&written(&path, text.as_bytes())), Err(IndexError::Stale)), "another version");
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let mut packed = zstd::encode_all(line(1, 1).as_bytes(), 1).unwrap();
    packed.extend(zstd::encode_all(line(2, 1).repeat(50).as_bytes(), 1).unwrap());
    packed.truncate(packed.len() - 20);
    let file = written(&path, &packed);
    build(&file).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn two_at_once_do_each_other_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (1..400).map(|seq| line(seq, seq)).collect();
    let file = written(&dir.path().join("x"), text.as_bytes());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let made = build(&file);
                    assert!(made.is_ok() || made.unwrap_err().kind() == io::ErrorKind::WouldBlock);
                    let opened = Index::open(&file);
                    assert!(matches!(opened, Ok(_) | Err(IndexError::Absent)), "{opened:?}");
                }
            });
        }
    });
    assert!(Index::open(&file).is_ok());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn no_changed_byte_goes_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log.1");
    let text = (1..=3).map(|seq| line(seq, seq)).collect::<String>();
    let file = written(&path, text.as_bytes());
    build(&file).unwrap();
    let index = path_of(&path);
    let whole = fs::read(&index).unwrap();
    let terms: Vec<_> = (1..=3).map(|user| term(Class::Thing("user"), &format!("u{user}"))).collect();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&index, &bytes).unwrap();
        let asked = Index::open(&file).and_then(|index| terms.iter().map(|term| index.holding(*term)).collect());
        // Four bytes mean nothing.
        let asked: Result<Vec<_>, _> = asked;
        assert!(asked.is_err() || (12..16).contains(&at) && asked.unwrap() == [[0], [0], [0]], "byte {at}");
    }
    for len in 0..whole.len() {
        fs::write(&index, &whole[..len]).unwrap();
        assert!(Index::open(&file).is_err(), "cut at {len}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), wanted in any::<u64>()) {
        let _ = Root::read(&bytes);
        let _ = Header::read(&mut bytes.as_slice());
        let _ = codec::find_in_page(&mut Fields(&bytes), wanted);
    }

    #[test]
    fn any_bytes_behind_a_right_header_are_read_or_refused(root in prop::collection::vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let file = written(&dir.path().join("x"), line(1, 1).as_bytes());
        let header = Header { root_at: Header::LENGTH, root_len: root.len() as u64, digest: Hash::of(&root) };
        fs::write(path_of(&file.path), [header.bytes(), root].concat()).unwrap();
        prop_assert!(Index::open(&file).is_err());
    }

    #[test]
    fn numbers_come_back(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
        let mut bytes = Vec::new();
        for number in &numbers {
            codec::push_number(&mut bytes, *number);
        }
        let mut fields = Fields(&bytes);
        for number in numbers {
            prop_assert_eq!(fields.number(), Some(number));
        }
        prop_assert!(fields.0.is_empty());
    }
}

#[test]
fn a_real_record_s_number_is_known() {
    // What the index relies on to know a record.
    assert_eq!(record::seq_of(line(5, 1).as_bytes()), Some(5));
}

#[test]
fn a_link_where_the_index_is_made_is_neither_cut_nor_given_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&dir.path().join("audit.log.1"), line(1, 1).as_bytes());
    let new = dir.path().join("audit.log.1.idx.new");
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let refused = || {
        let error = build(&file).unwrap_err();
        assert!(error.to_string().contains("audit.log.1.idx.new is a link or no file"), "{error}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&new).is_ok(), "what is another's stays");
        fs::remove_file(&new).unwrap();
    };
    std::os::unix::fs::symlink(&victim, &new).unwrap();
    refused();
    std::os::unix::fs::symlink(dir.path().join("absent"), &new).unwrap();
    refused();
    fs::hard_link(&victim, &new).unwrap();
    refused();
    rustix::fs::mknodat(rustix::fs::CWD, &new, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = build(&file).unwrap_err();
    assert!(error.to_string().contains("link or no file") || error.raw_os_error() == Some(6), "{error}");
    fs::remove_file(&new).unwrap();
    build(&file).unwrap();
    assert!(Index::open(&file).is_ok());
}
