//! One line per step: rewritten in place on a terminal, printed once when done elsewhere.

use std::io::{self, IsTerminal, Write};

/// A step of the demo whose line is on the screen.
pub(super) struct Step {
    title: String,
    terminal: bool,
    finished: bool,
}

impl Step {
    /// Begins a step.
    pub(super) fn new(title: impl Into<String>) -> Self {
        let step = Self { title: title.into(), terminal: io::stdout().is_terminal(), finished: false };
        step.update("...");
        step
    }

    /// Shows how far the step is; nothing where lines cannot be rewritten.
    pub(super) fn update(&self, text: &str) {
        if self.terminal {
            print!("\r\x1b[2K{}", self.line(text));
            let _ = io::stdout().flush();
        }
    }

    /// Ends the step with its outcome.
    pub(super) fn done(mut self, text: &str) {
        self.finished = true;
        let begin = if self.terminal { "\r\x1b[2K" } else { "" };
        println!("{begin}{}", self.line(text));
    }

    fn line(&self, text: &str) -> String {
        format!("  {:<22} {text}", self.title)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            // The error comes below the line on which it happened.
            let begin = if self.terminal { "\n" } else { "" };
            eprintln!("{begin}  {}: failed", self.title);
        }
    }
}
