//! The wire against the RFCs' own examples, every rule broken once, and random streams.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::collection::vec;
use proptest::prelude::*;

use super::deflate::{CONTEXTS_BYTES_MAX, DEFLATE_BYTES_MIN};
use super::encoder::FRAME_BYTES_MAX;
use super::*;
use std::sync::Arc;

const LIMIT: usize = 1 << 16;

fn codecs() -> Arc<Codecs> {
    Arc::new(Codecs::new(CONTEXTS_BYTES_MAX))
}

fn decoder(compression: bool) -> Decoder {
    Decoder::new(LIMIT, LIMIT, compression.then(codecs))
}

/// A frame of a client. `first` is the first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What comes of the bytes, cut into pieces of these sizes.
fn decode(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    sizes: &[usize],
) -> (Vec<Incoming>, Option<Violation>) {
    let mut all = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    while !bytes.is_empty() {
        let (mut piece, rest) =
            bytes.split_at(sizes.next().unwrap_or(bytes.len()).min(bytes.len()));
        bytes = rest;
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(incoming)) => all.push(incoming),
                Ok(None) => break,
                Err(violation) => return (all, Some(violation)),
            }
        }
        assert!(piece.is_empty(), "nothing stays behind");
    }
    (all, None)
}

fn text(text: &str) -> Incoming {
    Incoming::Text(text.to_owned())
}

/// A message as a client compresses it that may not refer to earlier ones.
fn compress(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

#[test]
fn the_examples_of_rfc_6455() {
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode(&mut decoder(false), &masked, &[]), (vec![text("Hello")], None));
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let expected = vec![Incoming::Ping(b"Hello".to_vec())];
    assert_eq!(decode(&mut decoder(false), &ping, &[1]), (expected, None));
    let encoded = |text: &str| {
        let message = Encoder::new(None).text(text.to_owned());
        let frames = message.frames();
        frames
            .flat_map(|frame| [frame.header.as_bytes(), frame.payload].concat())
            .collect::<Vec<_>>()
    };
    assert_eq!(encoded("Hello"), [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(encoded("")[..], [0x81, 0]);
    assert_eq!(encoded(&"x".repeat(125))[..2], [0x81, 125]);
    assert_eq!(encoded(&"x".repeat(126))[..4], [0x81, 126, 0, 126]);
    assert_eq!(encoded(&"x".repeat(0xffff))[..4], [0x81, 126, 0xff, 0xff]);
    assert_eq!(encoded(&"x".repeat(0x10000))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    let pong = Frame::pong(b"Hello");
    assert_eq!(pong.header.as_bytes(), [0x8a, 5]);
    assert_eq!(close_payload(Some(1000), "bye"), [3, 0xe8, b'b', b'y', b'e']);
    assert!(close_payload(None, "bye").is_empty());
}

#[test]
fn the_examples_of_rfc_7692() {
    let check = |payload: &[u8], message: &str| {
        let bytes = frame(0xc1, payload);
        assert_eq!(decode(&mut decoder(true), &bytes, &[3]), (vec![text(message)], None));
    };
    check(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello");
    // A stored block, a block that calls itself the last, and two blocks in one message.
    check(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello");
    check(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello");
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    check(&two, "Hello");
    check(&[0x00], "");
    // In two frames: only the first one is marked.
    let bytes = [frame(0x41, &[0xf2, 0x48, 0xcd]), frame(0x80, &[0xc9, 0xc9, 0x07, 0x00])].concat();
    assert_eq!(decode(&mut decoder(true), &bytes, &[]), (vec![text("Hello")], None));
    // Nobody has to compress.
    let bytes = frame(0x81, b"Hello");
    assert_eq!(decode(&mut decoder(true), &bytes, &[]), (vec![text("Hello")], None));
}

#[track_caller]
fn refused(compression: bool, bytes: &[u8], code: u16, reason: &str) {
    let mut decoder = decoder(compression);
    let (all, violation) = decode(&mut decoder, bytes, &[5]);
    let violation = violation.unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!((violation.code, violation.reason), (code, reason));
    assert!(reason.len() <= 123);
    let after = frame(0x81, b"{}");
    assert_eq!(decode(&mut decoder, &after, &[]), (vec![], None), "nothing counts after it");
}

#[test]
fn broken_rules() {
    refused(false, &frame(0x91, b"x"), 1002, "a reserved bit is set");
    refused(true, &frame(0xa1, b"x"), 1002, "a reserved bit is set");
    refused(false, &frame(0xc1, b"x"), 1002, "a reserved bit is set");
    let marked = "only the first frame of a message is marked";
    refused(true, &frame(0xc9, b"x"), 1002, marked);
    refused(true, &[frame(0x41, b"x"), frame(0xc0, b"x")].concat(), 1002, marked);
    for code in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refused(false, &frame(0x80 | code, b"x"), 1002, "a reserved opcode");
    }
    refused(false, &[0x81, 0x02, b'{', b'}'], 1002, "a frame is not masked");
    refused(false, &frame(0x09, b"x"), 1002, "a control frame is in parts");
    refused(false, &frame(0x89, &[b'x'; 126]), 1002, "a control frame is too long");
    refused(false, &frame(0x80, b"x"), 1002, "a message goes on that never began");
    let inside = "a message begins inside another";
    refused(false, &[frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002, inside);
    refused(false, &[frame(0x01, b"x"), frame(0x02, b"y")].concat(), 1002, inside);
    let longer = "a length is not in its shortest form";
    refused(false, &[0x81, 0xfe, 0, 125, 0, 0, 0, 0], 1002, longer);
    refused(false, &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], 1002, longer);
    refused(false, &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002, longer);
}

#[test]
fn texts_that_are_none() {
    for bytes in [&[0xff][..], &[0xc0, 0xaf], &[0xed, 0xa0, 0x80], &[0xe2, 0x82]] {
        refused(false, &frame(0x81, bytes), 1007, "the text is not UTF-8");
        refused(true, &frame(0xc1, &compress(bytes)), 1007, "the text is not UTF-8");
    }
    // A character in two frames is whole.
    let euro = "€".as_bytes();
    let bytes = [frame(0x01, &euro[..1]), frame(0x80, &euro[1..])].concat();
    assert_eq!(decode(&mut decoder(false), &bytes, &[]), (vec![text("€")], None));
    refused(true, &frame(0xc1, &[0xff; 9]), 1007, "the message cannot be decompressed");
}

#[test]
fn too_large() {
    let large = vec![b'x'; LIMIT + 1];
    refused(false, &frame(0x81, &large), 1009, "the frame is too large");
    assert!(decode(&mut decoder(false), &frame(0x81, &large[1..]), &[]).1.is_none());
    // The header alone is enough: nothing waits for what will not be read.
    let header = &frame(0x81, &large)[..14];
    refused(false, header, 1009, "the frame is too large");
    let whole = "the message is too large";
    refused(false, &[frame(0x01, &large[1..]), frame(0x80, b"x")].concat(), 1009, whole);
    // What is sent is small, what it means is not.
    let bomb = compress(&vec![0; 64 * LIMIT]);
    assert!(bomb.len() < LIMIT / 8);
    refused(true, &frame(0xc1, &bomb), 1009, whole);
    refused(true, &frame(0xc1, &compress(&large)), 1009, whole);
    let bytes = frame(0xc1, &compress(&large[1..]));
    assert!(decode(&mut decoder(true), &bytes, &[]).1.is_none(), "exactly at the limit");
}

#[test]
fn closes() {
    let close = |payload: &[u8]| decode(&mut decoder(false), &frame(0x88, payload), &[]).0;
    assert_eq!(close(b""), [Incoming::Close(None)]);
    for code in [1000_u16, 1001, 1003, 1007, 1014, 3000, 4999] {
        let payload = close_payload(Some(code), "gone");
        assert_eq!(close(&payload), [Incoming::Close(Some(code))]);
    }
    refused(false, &frame(0x88, b"x"), 1002, "half a close code");
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let payload = code.to_be_bytes();
        refused(false, &frame(0x88, &payload), 1002, "a close code that nobody may send");
    }
    refused(false, &frame(0x88, &[3, 0xe8, 0xff]), 1007, "the close reason is not UTF-8");
    let bytes = [frame(0x88, b""), frame(0x81, b"{}")].concat();
    assert_eq!(decode(&mut decoder(false), &bytes, &[]), (vec![Incoming::Close(None)], None));
}

/// What a client makes of our messages, if it remembers earlier ones or not.
struct Peer {
    decompress: Decompress,
    remembers: bool,
}

impl Peer {
    fn new(extension: Extension) -> Peer {
        let decompress = Decompress::new_with_window_bits(false, extension.window_bits);
        Peer { decompress, remembers: extension.takeover }
    }

    fn read(&mut self, message: &encoder::Message) -> String {
        let mut payload: Vec<u8> = message.frames().flat_map(|it| it.payload.to_vec()).collect();
        if message.frames().next().unwrap().header.as_bytes()[0] & bit::COMPRESSED == 0 {
            return String::from_utf8(payload).unwrap();
        }
        payload.extend([0, 0, 0xff, 0xff]);
        let (mut out, mut rest) = (Vec::with_capacity(1 << 20), &payload[..]);
        while !rest.is_empty() {
            let before = self.decompress.total_in();
            self.decompress.decompress_vec(rest, &mut out, FlushDecompress::Sync).unwrap();
            rest = &rest[(self.decompress.total_in() - before) as usize..];
            out.reserve(1 << 20);
        }
        if !self.remembers {
            self.decompress.reset(false);
        }
        String::from_utf8(out).unwrap()
    }
}

fn sent(encoder: &mut Encoder, text: &str) -> (encoder::Message, usize) {
    let message = encoder.text(text.to_owned());
    let bytes = message.frames().map(|it| it.header.as_bytes().len() + it.payload.len()).sum();
    (message, bytes)
}

fn encoder(codecs: &Arc<Codecs>, offer: &str) -> (Encoder, Peer) {
    let extension = Extension::choose(offer).unwrap();
    let deflater = Deflater::new(Arc::clone(codecs), extension);
    (Encoder::new(Some(deflater)), Peer::new(extension))
}

const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// Text that does not repeat itself.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 58) as u8)
    };
    (0..bytes).map(letter).collect()
}

#[test]
fn small_messages_go_as_they_are() {
    let codecs = codecs();
    let (mut encoder, _) = encoder(&codecs, OFFER);
    let short = "x".repeat(DEFLATE_BYTES_MIN - 1);
    assert_eq!(sent(&mut encoder, &short).1, short.len() + 4);
    assert_eq!(codecs.contexts_bytes(), 0);
    assert!(sent(&mut encoder, &(short + "x")).1 < 50);
    assert!(codecs.contexts_bytes() > 0);
}

#[test]
fn what_was_said_before_costs_little() {
    let codecs = codecs();
    let (mut encoder, mut peer) = encoder(&codecs, OFFER);
    let text = noise(20_000);
    let (message, first) = sent(&mut encoder, &text);
    assert_eq!(peer.read(&message), text);
    let (message, second) = sent(&mut encoder, &text);
    assert_eq!(peer.read(&message), text);
    assert!(first > 15_000 && second < 200, "{first}, {second}");
}

#[test]
fn memory_is_bounded_and_given_back() {
    let all = codecs();
    let one = {
        let (mut encoder, _) = encoder(&all, OFFER);
        sent(&mut encoder, &noise(2000));
        all.contexts_bytes()
    };
    assert_eq!(all.contexts_bytes(), 0, "a socket that is gone has nothing");
    // Room for two of three.
    let tight = Arc::new(Codecs::new(2 * one + one / 2));
    let mut sockets: Vec<_> = (0..3).map(|_| encoder(&tight, OFFER)).collect();
    let text = noise(20_000);
    let mut second = Vec::new();
    for (encoder, peer) in &mut sockets {
        for _ in 0..2 {
            let (message, bytes) = sent(encoder, &text);
            assert_eq!(peer.read(&message), text);
            second.push(bytes);
        }
    }
    assert_eq!(tight.contexts_bytes(), 2 * one);
    assert!(second[1] < 200 && second[3] < 200 && second[5] > 15_000, "{second:?}");
    // The first one falls silent: its place is free, and the third one gets it.
    for _ in 0..12 {
        sockets[0].0.rest();
    }
    assert_eq!(tight.contexts_bytes(), one);
    let bytes: Vec<usize> = (0..2).map(|_| sent(&mut sockets[2].0, &text).1).collect();
    assert!(bytes[0] > 15_000 && bytes[1] < 200, "{bytes:?}");
    // And when the first one speaks again, it is understood.
    let (encoder, peer) = &mut sockets[0];
    let (message, _) = sent(encoder, &text);
    assert_eq!(peer.read(&message), text);
}

#[test]
fn without_memory_nothing_grows() {
    let none = Arc::new(Codecs::new(0));
    let (mut encoder, mut peer) = encoder(&none, OFFER);
    let text = noise(3 << 20);
    let (message, bytes) = sent(&mut encoder, &text);
    assert_eq!(peer.read(&message), text);
    assert!(bytes <= text.len() + 100);
}

#[test]
fn large_messages_go_in_parts() {
    let text = "x".repeat(2 * FRAME_BYTES_MAX + 1);
    let message = Encoder::new(None).text(text.clone());
    let first: Vec<u8> = message.frames().map(|frame| frame.header.as_bytes()[0]).collect();
    assert_eq!(first, [0x01, 0x00, 0x80]);
    let payload: Vec<u8> = message.frames().flat_map(|frame| frame.payload.to_vec()).collect();
    assert_eq!(payload, text.into_bytes());
}

#[derive(Clone, Debug)]
enum Said {
    Text { text: String, cuts: Vec<usize>, compressed: bool },
    Ping(Vec<u8>),
    Pong,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => ("\\PC{0,300}", vec(0_usize..400, 0..4), any::<bool>())
            .prop_map(|(text, cuts, compressed)| Said::Text { text, cuts, compressed }),
        1 => vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
        1 => Just(Said::Pong),
    ]
}

/// The frames of a message, cut anywhere, with a pong between any two.
fn frames(said: &Said) -> Vec<u8> {
    match said {
        Said::Ping(payload) => frame(0x89, payload),
        Said::Pong => frame(0x8a, b"pong"),
        Said::Text { text, cuts, compressed } => {
            let payload =
                if *compressed { compress(text.as_bytes()) } else { text.as_bytes().to_vec() };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&payload.len())).collect();
            cuts.sort_unstable();
            cuts.push(payload.len());
            let (mut bytes, mut begin) = (Vec::new(), 0);
            for (place, end) in cuts.iter().enumerate() {
                let opcode = if place == 0 { 0x01 } else { 0x00 };
                let mark = if place == 0 && *compressed { 0x40 } else { 0 };
                let fin = if place + 1 == cuts.len() { 0x80 } else { 0 };
                bytes.extend(frame(opcode | mark | fin, &payload[begin..*end]));
                if fin == 0 {
                    bytes.extend(frame(0x8a, b""));
                }
                begin = *end;
            }
            bytes
        }
    }
}

proptest! {
    #[test]
    fn streams_mean_the_same_however_they_come(
        all in vec(said(), 0..10),
        sizes in vec(1_usize..200, 1..10),
    ) {
        let bytes: Vec<u8> = all.iter().flat_map(frames).collect();
        let (incoming, violation) = decode(&mut decoder(true), &bytes, &sizes);
        prop_assert_eq!(violation, None);
        let incoming: Vec<_> = incoming.into_iter().filter(|it| *it != Incoming::Pong).collect();
        let expected: Vec<_> = all.iter().filter_map(|said| match said {
            Said::Text { text, .. } => Some(Incoming::Text(text.clone())),
            Said::Ping(payload) => Some(Incoming::Ping(payload.clone())),
            Said::Pong => None,
        }).collect();
        prop_assert_eq!(incoming, expected);
    }

    #[test]
    fn no_bytes_do_harm(
        bytes in vec(any::<u8>(), 0..300),
        sizes in vec(1_usize..50, 1..5),
        compression: bool,
    ) {
        decode(&mut decoder(compression), &bytes, &sizes);
    }

    #[test]
    fn no_payload_does_harm(payload in vec(any::<u8>(), 0..300)) {
        decode(&mut decoder(true), &frame(0xc1, &payload), &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_compressed_reads_the_same(
        texts in vec("[a-e]{0,4000}|\\PC{0,2000}", 1..8),
        window_bits in 9_u8..=15,
        takeover: bool,
        budget in prop_oneof![Just(0), Just(CONTEXTS_BYTES_MAX)],
    ) {
        let codecs = Arc::new(Codecs::new(budget));
        let takeover = if takeover { "" } else { "; server_no_context_takeover" };
        let offer = format!("permessage-deflate; server_max_window_bits={window_bits}{takeover}");
        let (mut encoder, mut peer) = encoder(&codecs, &offer);
        for text in texts {
            let (message, bytes) = sent(&mut encoder, &text);
            prop_assert!(bytes <= text.len() + text.len() / 100 + 50);
            prop_assert_eq!(peer.read(&message), text);
        }
    }
}
