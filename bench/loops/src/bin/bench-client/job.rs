//! What is to be done.

use std::collections::HashMap;

use bench_loops::{Load, Result};

pub struct Job(HashMap<String, String>);

impl Job {
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        words
            .map(|word| {
                let (key, value) = word
                    .split_once('=')
                    .ok_or("usage: bench-client KEY=VALUE...")?;
                Ok((key.to_owned(), value.to_owned()))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    pub fn text(&self, key: &str) -> Result<&str> {
        match self.0.get(key) {
            Some(value) => Ok(value),
            None => Err(format!("{key} is missing").into()),
        }
    }

    pub fn number(&self, key: &str) -> Result<usize> {
        Ok(self.text(key)?.parse()?)
    }

    pub fn load(&self) -> Result<Load> {
        Ok(Load {
            qos: self.number("qos")?.min(1) as u8,
            size: self.number("size")?,
            count: self.number("count")?,
        })
    }
}
