//! The proof must accept every cut, and notice every kind of fault.

use super::*;

const LANES: usize = 2;

fn plan() -> Plan {
    Plan { ops: 6_000, threads: LANES as u16, seed: 4, sync_every: 100 }
}

/// A store as a crash could leave it: `extra` operations of each lane beyond its position.
fn cut(positions: [u64; LANES], extra: [u64; LANES]) -> Found {
    let mut found = Found { content: Content::new(), positions: positions.to_vec() };
    let mut seen = [0; LANES];
    for (number, op) in (1..).zip(Generator::new(&plan().parameters())) {
        let lane = lanes::lane_of(&op, LANES);
        seen[lane] += 1;
        if seen[lane] <= positions[lane] + extra[lane] {
            apply(&mut found.content, &maybe(number, &op));
        }
    }
    found
}

/// The keys that a lane's operation `position` touches.
fn key_of(lane: usize, position: u64) -> Vec<u8> {
    Generator::new(&plan().parameters())
        .filter(|op| lanes::lane_of(op, LANES) == lane)
        .nth(position as usize - 1)
        .unwrap()
        .store_key()
}

fn refusal(acknowledged: &[u64], found: &Found) -> String {
    match prove(&plan(), acknowledged, found) {
        Err(Failure::Message { text, .. }) => text,
        other => panic!("accepted: {other:?}"),
    }
}

#[test]
fn every_cut_is_accepted() {
    for positions in [[0, 0], [1, 700], [1_200, 900], [2_000, 2_000]] {
        for extra in [[0, 0], [1, 0], [7, 16], [16, 3]] {
            let found = cut(positions, extra);
            let proven = prove(&plan(), &positions, &found).unwrap();
            // A delete of what is not there leaves no trace, so it may be left uncounted.
            for lane in 0..LANES {
                let exact = positions[lane] + extra[lane];
                let got = proven.positions[lane];
                assert!((positions[lane]..=exact).contains(&got), "{got} of {exact}");
            }
            assert_eq!(proven.entries, found.content.len() as u64);
        }
    }
}

#[test]
fn a_lost_acknowledged_write_is_noticed() {
    let found = cut([1_000, 1_000], [3, 3]);
    assert!(refusal(&[1_000, 1_001], &found).contains("lost acknowledged"));
}

#[test]
fn a_hole_is_noticed() {
    let mut noticed = 0;
    for position in 1_001..=1_016 {
        let mut found = cut([1_000, 1_000], [16, 0]);
        let before = cut([1_000, 1_000], [0, 0]);
        let key = key_of(0, position);
        // The lane's later operations are there, this one is not.
        match before.content.get(&key) {
            Some(old) => found.content.insert(key.clone(), *old),
            None => found.content.remove(&key),
        };
        let changed = found.content != cut([1_000, 1_000], [16, 0]).content;
        if changed && position < 1_016 {
            // Without its last operations a tail may again look like a shorter prefix only when
            // nothing after the hole touches another key.
            noticed += usize::from(prove(&plan(), &[0, 0], &found).is_err());
        }
    }
    assert!(noticed >= 8, "{noticed}");
}

#[test]
fn a_lost_a_changed_and_a_surplus_entry_are_noticed() {
    let sound = || cut([1_500, 1_400], [0, 0]);
    let tail: HashSet<Vec<u8>> =
        (0..LANES).flat_map(|lane| (1_400..1_520).map(move |at| key_of(lane, at))).collect();
    let quiet = sound().content.into_keys().find(|key| !tail.contains(key)).unwrap();

    let mut found = sound();
    found.content.remove(&quiet);
    assert!(refusal(&[0, 0], &found).contains("is missing"));

    let mut found = sound();
    found.content.insert(quiet, Stamp::of(b"another"));
    assert!(refusal(&[0, 0], &found).contains("another value"));

    let mut found = sound();
    found.content.insert(b"\x01resurrected".to_vec(), Stamp::of(b"old"));
    assert!(refusal(&[0, 0], &found).contains("should not be there"));

    assert!(found.add(b"\xffxxxxxxx", b"").is_err());
}

#[test]
fn a_position_ahead_of_its_operations_is_noticed() {
    let mut found = cut([1_000, 1_000], [0, 0]);
    found.positions[1] = 1_040;
    refusal(&[0, 0], &found);
    found.positions[1] = 1_000_000;
    assert!(refusal(&[0, 0], &found).contains("beyond"));
}
