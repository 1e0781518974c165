//! `expect`: what the operator wants sent and awaited (ldirectord's `simpletcp`).

use super::super::pattern;
use super::super::quote::quote;
use super::{Conversation, LONGEST, Step};
use crate::health::{Failure, FailureReason};
use crate::model::DialogueStep;

/// Steps, one after the other.
pub(super) struct Expect<'a> {
    steps: std::slice::Iter<'a, DialogueStep>,
    awaited: Option<&'a str>,
}

impl<'a> Expect<'a> {
    pub(super) fn new(steps: &'a [DialogueStep]) -> Self {
        Self { steps: steps.iter(), awaited: None }
    }

    /// What is to be sent until something is awaited again.
    fn advance(&mut self) -> Vec<u8> {
        let mut say = Vec::new();
        self.awaited = None;
        for step in self.steps.by_ref() {
            match step {
                DialogueStep::Send(bytes) => say.extend_from_slice(bytes),
                DialogueStep::Expect(pattern) => {
                    self.awaited = Some(&pattern.expression);
                    break;
                }
            }
        }
        say
    }
}

impl Conversation for Expect<'_> {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.advance())
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let Some(awaited) = self.awaited else { return Ok(Step::Good(Vec::new())) };
        match pattern::compiled(awaited)?.find(bytes) {
            Some(found) => Ok(Step::Go(found.end(), self.advance())),
            None if bytes.len() >= LONGEST => Err(Failure::new(
                FailureReason::Pattern,
                format!("{} does not match {}", quote(bytes), quote(awaited.as_bytes())),
            )),
            None => Ok(Step::More),
        }
    }
}
