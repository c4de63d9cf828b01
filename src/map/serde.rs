//! A map as a map of serde: what is read of it first, then written with its length.

use super::Map;
use crate::key::Key;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// The entries are read as by [`Map::iter`], before the first one is written: some formats want to
/// know how many there are.
impl<K, V> Serialize for Map<K, V>
where
    K: Key + Serialize,
    V: Clone + Send + Sync + Serialize + 'static,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries: Vec<(K, V)> = self.iter().collect();
        serializer.collect_map(entries)
    }
}

/// Of two entries with the same key the later one counts.
impl<'de, K, V> Deserialize<'de> for Map<K, V>
where
    K: Key + Deserialize<'de>,
    V: Clone + Send + Sync + Deserialize<'de> + 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Makes a map of entries as they come.
struct Entries<K, V>(PhantomData<fn() -> (K, V)>);

impl<'de, K, V> Visitor<'de> for Entries<K, V>
where
    K: Key + Deserialize<'de>,
    V: Clone + Send + Sync + Deserialize<'de> + 'static,
{
    type Value = Map<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Map<K, V>, A::Error> {
        let map = Map::new();
        let mut failed = None;
        map.load(core::iter::from_fn(|| {
            entries.next_entry().unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        }));
        failed.map_or(Ok(map), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = Map<String, Vec<u32>>;

    fn texts() -> Texts {
        [("b".to_owned(), vec![2, 3]), ("a".to_owned(), vec![])].into()
    }

    #[test]
    fn a_map_is_written_in_order_and_read_back() {
        let text = serde_json::to_string(&texts()).unwrap();
        assert_eq!(text, r#"{"a":[],"b":[2,3]}"#);
        let back: Texts = serde_json::from_str(&text).unwrap();
        assert!(back.iter().eq(texts().iter()));
        assert_eq!(serde_json::to_string(&Texts::new()).unwrap(), "{}");
    }

    #[test]
    fn of_two_values_of_a_key_the_later_one_counts() {
        let map: Map<u64, bool> = serde_json::from_str(r#"{"7":false,"1":true,"7":true}"#).unwrap();
        assert!(map.iter().eq([(1, true), (7, true)]));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        assert!(serde_json::from_str::<Texts>("[1, 2]").is_err());
        assert!(serde_json::from_str::<Texts>(r#"{"a":[1],"b":"#).is_err());
        assert!(serde_json::from_str::<Texts>(r#"{"a":[1],"b":true}"#).is_err());
    }
}
