//! Name servers of an attacker.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use shipbound::transport::resolver::Lookup;

/// Answers each question about a name with the next of its answers, and then with the last one for ever.
#[derive(Debug, Default)]
pub struct Rebinding {
    answers: HashMap<String, Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Rebinding {
    /// Adds a name, with the addresses of each of its answers.
    pub fn name(mut self, host: &str, answers: &[&[&str]]) -> Self {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        self.answers
            .insert(host.to_owned(), answers.iter().map(parse).collect());
        self
    }

    /// Every name that was asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Lookup for Rebinding {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let answers = self.answers.get(host).ok_or(io::ErrorKind::NotFound)?;
        let mut asked = self.asked.lock().unwrap();
        let before = asked.iter().filter(|name| *name == host).count();
        asked.push(host.to_owned());
        Ok(answers.get(before).or(answers.last()).cloned().unwrap_or_default())
    }
}
