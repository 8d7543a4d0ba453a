//! The matrix: what came of each behaviour at each place and in each family.

use std::{collections::BTreeMap, fmt};

/// Where the backend is, seen from the client on east's n1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    SameNode,
    OtherNode,
    OtherCluster,
}

impl Place {
    pub(crate) const ALL: [Self; 3] = [Self::SameNode, Self::OtherNode, Self::OtherCluster];

    /// The two pods there.
    pub(crate) fn pods(self) -> [&'static str; 2] {
        match self {
            Self::SameNode => ["a1", "a2"],
            Self::OtherNode => ["b1", "b2"],
            Self::OtherCluster => ["w1", "w2"],
        }
    }

    /// Its number, from 1.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::SameNode => 1,
            Self::OtherNode => 2,
            Self::OtherCluster => 3,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameNode => "same node",
            Self::OtherNode => "other node",
            Self::OtherCluster => "other cluster",
        })
    }
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) place: Place,
    pub(crate) family: Family,
}

impl Cell {
    /// All columns.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let places = Place::ALL.into_iter();
        places.flat_map(|place| Family::ALL.map(|family| Self { place, family }))
    }
}

/// What came of a behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail(String),
    NotClaimed(&'static str),
}

/// All rows, in the order in which they were tried.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    rows: Vec<(&'static str, BTreeMap<Cell, Verdict>)>,
}

impl Matrix {
    /// Begins a row; what follows is of it.
    pub(crate) fn begin(&mut self, behaviour: &'static str) {
        self.rows.push((behaviour, BTreeMap::new()));
    }

    /// How many rows have begun.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn pass(&mut self, cell: Cell) {
        self.cells().entry(cell).or_insert(Verdict::Pass);
    }

    /// The first failure of a cell counts, and beats all else.
    pub(crate) fn fail(&mut self, cell: Cell, why: String) {
        let verdict = self.cells().entry(cell).or_insert(Verdict::Pass);
        match verdict {
            Verdict::Fail(_) => {}
            Verdict::Pass | Verdict::NotClaimed(_) => *verdict = Verdict::Fail(why),
        }
    }

    pub(crate) fn not_claimed(&mut self, place: Place, reason: &'static str) {
        for family in Family::ALL {
            self.cells()
                .insert(Cell { place, family }, Verdict::NotClaimed(reason));
        }
    }

    /// What failed, or was neither tried nor said to be not claimed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (behaviour, cells) in &self.rows {
            for cell in Cell::all() {
                let why = match cells.get(&cell) {
                    Some(Verdict::Fail(why)) => why,
                    Some(Verdict::Pass | Verdict::NotClaimed(_)) => continue,
                    None => "nothing was tried",
                };
                let Cell { place, family } = cell;
                failures.push(format!("{behaviour}, {place}, {family}: {why}"));
            }
        }
        failures
    }

    fn cells(&mut self) -> &mut BTreeMap<Cell, Verdict> {
        let (_, cells) = self.rows.last_mut().expect("a row has begun");
        cells
    }
}

/// A table, and below it why what is not claimed is not.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or_default();
        write!(f, "{:width$}", "")?;
        for place in Place::ALL {
            write!(f, "  {:25}", place.to_string())?;
        }
        write!(f, "\n{:width$}", "")?;
        for cell in Cell::all() {
            write!(f, "  {:11}", cell.family.to_string())?;
        }
        writeln!(f)?;
        for (behaviour, cells) in &self.rows {
            write!(f, "{behaviour:width$}")?;
            for cell in Cell::all() {
                let said = match cells.get(&cell) {
                    Some(Verdict::Pass) => "pass",
                    Some(Verdict::NotClaimed(_)) => "not claimed",
                    Some(Verdict::Fail(_)) | None => "FAIL",
                };
                write!(f, "  {said:11}")?;
            }
            writeln!(f)?;
        }
        for (behaviour, cells) in &self.rows {
            let mut reasons: Vec<(Place, &str)> = Vec::new();
            for (cell, verdict) in cells {
                if let Verdict::NotClaimed(reason) = verdict
                    && !reasons.contains(&(cell.place, *reason))
                {
                    reasons.push((cell.place, *reason));
                }
            }
            for (place, reason) in reasons {
                writeln!(f, "not claimed: {behaviour}, {place}: {reason}")?;
            }
        }
        Ok(())
    }
}
