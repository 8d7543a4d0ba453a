//! A slab: values under small numbers that stay theirs until they are removed.
//!
//! It grows in chunks, so that a growing one neither copies what it holds nor reserves as much again.

const CHUNK: usize = 1024;

/// The number of a value in a [`Slab`]; numbers of removed values are given anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotId(u32);

impl SlotId {
    pub(super) fn number(self) -> u32 {
        self.0
    }

    pub(super) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// The slab.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<SlotId>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Keeps a value, and returns its number.
    pub(super) fn insert(&mut self, value: T) -> SlotId {
        if let Some(id) = self.free.pop() {
            if let Some(slot) = self.slot_mut(id) {
                *slot = Some(value);
            }
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let mut number = before;
        if let Some(chunk) = self.chunks.last_mut() {
            number += chunk.len();
            chunk.push(Some(value));
        }
        let number = u32::try_from(number).expect("memory ends before four billion values do");
        SlotId(number)
    }

    pub(super) fn get(&self, id: SlotId) -> Option<&T> {
        let (chunk, at) = place(id);
        self.chunks.get(chunk)?.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        self.slot_mut(id)?.as_mut()
    }

    /// Forgets a value, and returns it.
    pub(super) fn remove(&mut self, id: SlotId) -> Option<T> {
        let value = self.slot_mut(id)?.take();
        if value.is_some() {
            self.free.push(id);
        }
        value
    }

    fn slot_mut(&mut self, id: SlotId) -> Option<&mut Option<T>> {
        let (chunk, at) = place(id);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }
}

fn place(SlotId(number): SlotId) -> (usize, usize) {
    let number = number as usize;
    (number / CHUNK, number % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_values_number_is_given_anew() {
        let mut slab = Slab::default();
        let ids: Vec<SlotId> = (0..3000).map(|n| slab.insert(n)).collect();

        assert_eq!(slab.remove(ids[1500]), Some(1500));
        assert_eq!(slab.remove(ids[1500]), None);
        assert_eq!(slab.get(ids[1500]), None);

        assert_eq!(slab.insert(7), ids[1500]);
        assert_eq!(slab.get(ids[1500]), Some(&7));
        assert_eq!(slab.get(ids[2999]), Some(&2999));
    }
}
