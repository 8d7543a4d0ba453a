//! Reads OpenMetrics text strictly: what stands here, Prometheus takes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// All metrics of one page.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    kind_by_family: BTreeMap<String, Kind>,
    samples: Vec<Sample>,
}

/// What a family measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let body = text.strip_suffix("# EOF\n").context("it has no end")?;
        let mut all = Self::default();
        let mut family = None;
        for line in body.lines() {
            all.take_line(line, &mut family)
                .with_context(|| format!("in the line {line}"))?;
        }
        Ok(all)
    }

    /// The value of a sample by its name and all its labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let labels: BTreeMap<String, String> = labels.iter().map(own).collect();
        let mut samples = self.samples.iter();
        let sample = samples.find(|sample| sample.name == name && sample.labels == labels);
        sample.map(|sample| sample.value)
    }

    /// Whether there is a sample of that name, whatever its labels.
    pub(crate) fn has_sample(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    fn take_line(&mut self, line: &str, family: &mut Option<String>) -> Result<()> {
        let Some(meta) = line.strip_prefix("# ") else {
            let sample = Sample::parse(line)?;
            let family = family.as_ref().context("it stands before any family")?;
            let kind = self.kind_by_family.get(family);
            let suffix = match kind.context("its family has no type")? {
                Kind::Counter => "_total",
                Kind::Gauge => "",
            };
            ensure!(
                sample.name == format!("{family}{suffix}"),
                "of another family"
            );
            let is_new = !self
                .samples
                .iter()
                .any(|known| known.name == sample.name && known.labels == sample.labels);
            ensure!(is_new, "it stands there twice");
            self.samples.push(sample);
            return Ok(());
        };
        let mut words = meta.splitn(3, ' ');
        let mut next = || words.next().context("too few words");
        let (keyword, name, rest) = (next()?, next()?, next()?);
        match keyword {
            "HELP" => ensure!(!rest.is_empty(), "no help"),
            "UNIT" => ensure!(
                name.ends_with(&format!("_{rest}")),
                "the unit is not in the name"
            ),
            "TYPE" => {
                let kind = match rest {
                    "counter" => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    other => bail!("the type is {other}"),
                };
                let known = self.kind_by_family.insert(name.to_owned(), kind);
                ensure!(known.is_none(), "the family stands there twice");
                *family = Some(name.to_owned());
            }
            other => bail!("{other} is no keyword"),
        }
        Ok(())
    }
}

impl Sample {
    fn parse(line: &str) -> Result<Self> {
        let (series, value) = line.rsplit_once(' ').context("no value")?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').context("no '}'")?),
            None => (series, ""),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ensure!(!name.is_empty() && name.chars().all(is_name), "a bad name");
        let labels = labels.split_terminator(',').map(|label| {
            let (key, value) = label.split_once('=').context("a label without value")?;
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let value = value.context("a label's value is not quoted")?;
            ensure!(!value.contains(['"', '\\']), "these labels need no escapes");
            Ok((key.to_owned(), value.to_owned()))
        });
        Ok(Self {
            name: name.to_owned(),
            labels: labels.collect::<Result<_>>()?,
            value: value.parse().context("the value is no number")?,
        })
    }
}
