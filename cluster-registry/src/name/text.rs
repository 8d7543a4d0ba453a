//! The text of a name, in one piece of memory unless it is long.

use std::cmp::Ordering;

/// The longest text that stands in the value itself, which is then three words long; most names are shorter.
const MAX_SHORT: usize = 22;

/// The text.
#[derive(Debug)]
pub(super) enum Text {
    Short { len: u8, bytes: [u8; MAX_SHORT] },
    Long(Box<str>),
}

// Names stand in keys, of which there are hundreds of thousands.
const _: () = assert!(size_of::<Text>() == 24);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; MAX_SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(own), Ok(len)) => {
                own.copy_from_slice(text.as_bytes());
                Self::Short { len, bytes }
            }
            (None, _) | (_, Err(_)) => Self::Long(Box::from(text)),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short { .. } => str::from_utf8(self.as_bytes()).expect("it was a text"),
            Self::Long(text) => text,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Text {}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // No name has a zero byte, so that those which fill the rest up order as the end of the text does.
            (Self::Short { bytes, .. }, Self::Short { bytes: other, .. }) => {
                words(bytes).cmp(&words(other))
            }
            (Self::Short { .. } | Self::Long(_), _) => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Bytes as numbers that order as they do.
fn words(bytes: &[u8; MAX_SHORT]) -> (u128, u128) {
    let word = |bytes: &[u8]| {
        let mut word = [0; 16];
        let len = bytes.len();
        word.get_mut(..len)
            .into_iter()
            .for_each(|part| part.copy_from_slice(bytes));
        u128::from_be_bytes(word)
    };
    let (first, rest) = bytes.split_at(16);
    (word(first), word(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_all_lengths_are_kept_and_order_as_they_do() {
        let texts: Vec<String> = (0..100)
            .map(|len| "ab".chars().cycle().take(len).collect())
            .collect();
        for one in &texts {
            assert_eq!(Text::new(one).as_str(), one);
            for other in &texts {
                assert_eq!(Text::new(one).cmp(&Text::new(other)), one.cmp(other));
                assert_eq!(Text::new(one) == Text::new(other), one == other);
            }
        }
    }
}
