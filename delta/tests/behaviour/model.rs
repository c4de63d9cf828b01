//! Pages as sorted vectors of owned keys, and where their keys come from.

use std::collections::BTreeSet;

use bwtree_delta::{
    Base, Contents, Entry, FLAG_SEPARATED, Layout, Shape, base_bytes, check, write_base,
};
use types::PageId;

pub(crate) const LAYOUTS: [Layout; 2] = [Layout::Fixed8, Layout::Var];

/// A small deterministic generator (splitmix).
pub(crate) struct Random(u64);

impl Random {
    /// The generator of this seed, which is printed: a failing test shows it.
    #[expect(clippy::print_stdout, reason = "a failing test shows its seed")]
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn letters(&mut self, alphabet: &[u8], len: usize) -> Vec<u8> {
        (0..len).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// A key and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u8,
}

/// A page that owns everything.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) layout: Layout,
    pub(crate) level: u8,
    pub(crate) low: Vec<u8>,
    pub(crate) high: Option<Vec<u8>>,
    pub(crate) right: PageId,
    pub(crate) merging: PageId,
    pub(crate) absorbed: Vec<PageId>,
    pub(crate) rows: Vec<Row>,
}

impl Page {
    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape {
            layout: self.layout,
            level: self.level,
            low: &self.low,
            high: self.high.as_deref(),
            right: self.right,
            merging: self.merging,
            absorbed: &self.absorbed,
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = Vec::new();
        for row in &self.rows {
            let flags = row.flags;
            entries.push(Entry { flags, ..Entry::new(&row.key, &row.value) });
        }
        entries
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        written(&self.shape(), &self.entries())
    }
}

/// The base page of this shape and these entries, checked, with bytes behind it that don't count.
pub(crate) fn written(shape: &Shape<'_>, entries: &[Entry<'_>]) -> Vec<u8> {
    let len = base_bytes(shape, entries);
    assert_eq!(len % 8, 0);
    let mut bytes = vec![0xee; len + 24];
    write_base(shape, entries, &mut bytes[..len]);
    let base = Base::new(&bytes);
    assert_eq!(check(base), Ok(()));
    assert_eq!(base.byte_len(), len);
    bytes
}

/// As [`written`], of contents.
pub(crate) fn built(shape: &Shape<'_>, contents: &Contents<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    contents.write(shape, &mut bytes);
    assert_eq!(bytes.len(), contents.base_bytes(shape));
    let base = Base::new(&bytes);
    assert_eq!(check(base), Ok(()));
    assert_eq!(base.count(), contents.len());
    let entries: Vec<Entry<'_>> = base.entries().collect();
    let same = written(shape, &entries);
    // A page whose values have lately become alike may still tell of each how long it is.
    if is_uniform(&bytes) == is_uniform(&same) && !entries.is_empty() {
        assert_eq!(bytes, same[..bytes.len()], "the one way to write this page");
    }
    bytes
}

/// Whether values and flags of a page in [`Layout::Var`] are known from its header.
pub(crate) fn is_uniform(page: &[u8]) -> bool {
    page[48] & 8 != 0
}

pub(crate) fn row_of(entry: &Entry<'_>) -> Row {
    Row { key: entry.key.to_vec(), value: entry.value.to_vec(), flags: entry.flags }
}

pub(crate) fn rows_of<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Vec<Row> {
    entries.into_iter().map(|entry| row_of(&entry)).collect()
}

/// How many kinds of key sets there are per layout.
pub(crate) const KINDS: usize = 8;

/// A sorted set of about `count` keys of this kind.
pub(crate) fn keys(random: &mut Random, layout: Layout, kind: usize, count: usize) -> Vec<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let start = random.next();
    let long = random.bytes(300);
    for step in 0..count {
        keys.insert(match layout {
            Layout::Fixed8 => number(random, kind, step as u64, start).to_be_bytes().to_vec(),
            Layout::Var => string(random, kind, step as u64, start, &long),
        });
    }
    keys.into_iter().collect()
}

fn number(random: &mut Random, kind: usize, step: u64, start: u64) -> u64 {
    match kind {
        0 => random.next(),
        // Dense.
        1 => (start >> 1) + step,
        // The ends of the range.
        2 => [step, u64::MAX - step, u64::MAX / 2 + step][random.below(3)],
        // Skewed: most of them near zero.
        3 => random.next() >> random.below(64),
        // A time in front, noise behind.
        4 => ((1 << 20) + step / 3) << 32 | random.next() >> 40,
        // Two far clusters.
        5 => start.wrapping_add(step) ^ (random.next() & 1) << 63,
        6 => 1 << random.below(64),
        // Letters as the first bytes.
        _ => {
            let text = random.letters(b"aeinrst", 8);
            text.iter().fold(0, |number, letter| number << 8 | u64::from(*letter))
        }
    }
}

fn string(random: &mut Random, kind: usize, step: u64, start: u64, long: &[u8]) -> Vec<u8> {
    match kind {
        // Few letters, nasty ones, many that are the start of another.
        0 => {
            let len = random.below(12);
            random.letters(&[0, 1, b'a', 0xfe, 0xff], len)
        }
        // A long shared prefix.
        1 => {
            let len = random.below(20);
            [long, &random.letters(b"abc", len)].concat()
        }
        // Nothing but zeros, so that every head is the same.
        2 => {
            let len = random.below(200);
            vec![0; len]
        }
        3 => {
            let len = random.below(40);
            let mut key = vec![0xff; len];
            key.extend_from_slice(&random.letters(&[0, 0xff], 2));
            key
        }
        4 => (start + step).to_be_bytes().to_vec(),
        5 => {
            let (name, host) = (random.below(9) + 1, random.below(5) + 1);
            let alphabet = b"abcdefghijklmnopqrstuvwxyz";
            let name = random.letters(alphabet, name);
            [&name, &b"@"[..], &random.letters(alphabet, host), b".example"].concat()
        }
        // The longest keys that there are, different at the very end only.
        6 => {
            let mut key = long.repeat(14);
            key.truncate(4096 - random.below(3));
            let end = key.len() - 2;
            key[end..].copy_from_slice(&(step as u16).to_be_bytes());
            key
        }
        _ => {
            let len = random.below(64);
            random.bytes(len)
        }
    }
}

/// A random leaf with about `count` keys of this kind; fences from its keys, or none.
pub(crate) fn leaf(random: &mut Random, layout: Layout, kind: usize, count: usize) -> Page {
    let mut keys = keys(random, layout, kind, count + 2);
    let low =
        if random.chance(70) { keys.first().cloned().unwrap_or_default() } else { Vec::new() };
    let high = (keys.len() > 1 && random.chance(70)).then(|| keys.pop()).flatten();
    // The low key may but need not be there itself.
    if keys.len() > 1 && random.chance(50) {
        keys.remove(0);
    }
    let rows = keys
        .into_iter()
        .map(|key| {
            let (value, flags) = value(random, layout);
            Row { key, value, flags }
        })
        .collect();
    page(random, layout, 0, low, high, rows)
}

pub(crate) fn value(random: &mut Random, layout: Layout) -> (Vec<u8>, u8) {
    let len = match random.below(20) {
        _ if layout == Layout::Fixed8 => 8,
        0 => 0,
        1 => random.below(1025),
        2 => return (random.bytes(8), FLAG_SEPARATED),
        _ => random.below(20),
    };
    (random.bytes(len), 0)
}

/// As [`leaf`], with values that are all of one length, and no flags.
pub(crate) fn uniform_leaf(random: &mut Random, kind: usize, count: usize) -> Page {
    let mut page = leaf(random, Layout::Var, kind, count);
    for row in &mut page.rows {
        (row.value, row.flags) = (random.bytes(8), 0);
    }
    page
}

/// A random inner page with about `count` children.
pub(crate) fn inner(random: &mut Random, layout: Layout, kind: usize, count: usize) -> Page {
    let mut keys = keys(random, layout, kind, count + 1);
    let high = (keys.len() > 1 && random.chance(70)).then(|| keys.pop()).flatten();
    let low = if random.chance(70) { keys[0].clone() } else { Vec::new() };
    keys[0].clone_from(&low);
    keys.dedup();
    let width = if layout == Layout::Fixed8 { 8 } else { 4 };
    let rows = keys
        .into_iter()
        .map(|key| {
            let mut value = (random.next() as u32 | 1).to_le_bytes().to_vec();
            value.resize(width, 0);
            Row { key, value, flags: 0 }
        })
        .collect();
    let level = 1 + random.below(5) as u8;
    let mut page = page(random, layout, level, low, high, rows);
    if random.chance(30) {
        page.merging = PageId::new(random.next() as u32 | 1);
    }
    page
}

fn page(
    random: &mut Random,
    layout: Layout,
    level: u8,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    rows: Vec<Row>,
) -> Page {
    let right = if high.is_some() { PageId::new(random.next() as u32 | 1) } else { PageId::NONE };
    let absorbed = if random.chance(30) { random.below(6) } else { 0 };
    Page {
        layout,
        level,
        low,
        high,
        right,
        merging: PageId::NONE,
        absorbed: (0..absorbed).map(|_| PageId::new(random.next() as u32 | 1)).collect(),
        rows,
    }
}

/// Keys worth asking for: those of the page, what is right beside them, the fences, and others.
pub(crate) fn probes(random: &mut Random, page: &Page) -> Vec<Vec<u8>> {
    let mut probes = vec![Vec::new(), vec![0], vec![0xff; 9], vec![0; 9], page.low.clone()];
    probes.extend(page.high.clone());
    for row in &page.rows {
        probes.push(row.key.clone());
        probes.push([&row.key[..], &[0]].concat());
        if let Some((last, start)) = row.key.split_last() {
            probes.push(start.to_vec());
            probes.push([start, &[last.wrapping_add(1)]].concat());
            probes.push([start, &[last.wrapping_sub(1)]].concat());
        }
    }
    for len in 0..20 {
        probes.push(random.bytes(len));
    }
    for _ in 0..20 {
        probes.push(random.bytes(8));
    }
    probes
}
