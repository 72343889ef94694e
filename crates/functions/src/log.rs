//! Log lines of one call: levels, limits, and the text that clients see.
//!
//! Source: spec/function-runtime.md 14.

use engine::{Limits, Usage};
use value::Timestamp;

/// Most lines of one call, the one that says that lines are missing included.
pub const LOG_LINES_MAX: usize = 256;
/// Longest line, in bytes.
pub const LOG_LINE_BYTES_MAX: usize = 32 << 10;

const OVERFLOW: &str = "Log overflow (maximum 256). Remaining log lines omitted.";
const TRUNCATED: &str = " (truncated due to length)";

/// How serious a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Debug,
    Info,
    Log,
    Warn,
    Error,
}

impl LogLevel {
    /// The word in the text form.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Log => "LOG",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How serious it is.
    pub level: LogLevel,
    /// The text, cut at `LOG_LINE_BYTES_MAX`.
    pub text: String,
    /// Whether the text was cut.
    pub truncated: bool,
    /// When it was written: the fixed time of its call.
    pub ts: Timestamp,
    /// For lines of the system itself, such as `warning:TooManyReads`.
    pub system_code: Option<String>,
    /// Path of the nested function that wrote it; None: the outermost one.
    pub function: Option<String>,
}

impl LogLine {
    /// `[LOG] hello`, as clients get it.
    pub fn to_text(&self) -> String {
        let mark = if self.truncated { TRUNCATED } else { "" };
        format!("[{}] {}{mark}", self.level.as_str(), self.text)
    }
}

/// The lines of a call and of everything it calls.
#[derive(Debug, Default)]
pub(crate) struct LogLines {
    lines: Vec<LogLine>,
}

impl LogLines {
    /// Adds a line; above the limit one last line says that others are missing.
    pub(crate) fn push(&mut self, mut line: LogLine) {
        if self.lines.len() >= LOG_LINES_MAX {
            return;
        }
        if self.lines.len() == LOG_LINES_MAX - 1 {
            line.level = LogLevel::Error;
            line.text = OVERFLOW.to_string();
            line.system_code = None;
        } else if line.text.len() > LOG_LINE_BYTES_MAX {
            line.text.truncate(line.text.floor_char_boundary(LOG_LINE_BYTES_MAX));
            line.truncated = true;
        }
        self.lines.push(line);
    }

    /// The lines, oldest first.
    pub(crate) fn take(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.lines)
    }
}

/// Warnings for what a call used above four fifths of its limits: code and text.
pub(crate) fn usage_warnings(used: &Usage, limits: &Limits) -> Vec<(&'static str, String)> {
    let figures = [
        ("TooManyDocumentsRead", "documents read", used.documents_read, limits.documents_read),
        ("TooManyBytesRead", "bytes read", used.bytes_read, limits.bytes_read),
        ("TooManyReads", "reads", used.database_queries, limits.database_queries),
        ("TooManyWrites", "documents written", used.documents_written, limits.documents_written),
        ("TooManyBytesWritten", "bytes written", used.bytes_written, limits.bytes_written),
        (
            "TooManyFunctionsScheduled",
            "functions scheduled",
            used.functions_scheduled,
            limits.functions_scheduled,
        ),
        (
            "ScheduledFunctionsArgumentsTooLarge",
            "bytes of arguments of scheduled functions",
            used.scheduled_function_args_bytes,
            limits.scheduled_function_args_bytes,
        ),
    ];
    let near = figures.into_iter().filter(|(_, _, used, limit)| *used > limit / 5 * 4);
    near.map(|(code, what, used, limit)| {
        let text =
            format!("Many {what} in a single function execution (actual: {used}, limit: {limit}).");
        (code, text)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_near_a_limit_is_worth_a_warning() {
        let limits = Limits::default();
        let mut used = Limits { documents_read: 25_600, database_queries: 3277, ..limits };
        for other in [
            &mut used.bytes_read,
            &mut used.documents_written,
            &mut used.bytes_written,
            &mut used.functions_scheduled,
            &mut used.scheduled_function_args_bytes,
        ] {
            *other = 0;
        }
        let codes: Vec<_> = usage_warnings(&used, &limits).iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["TooManyReads"]);
        used.documents_read += 1;
        let warnings = usage_warnings(&used, &limits);
        assert_eq!(
            warnings[0].1,
            "Many documents read in a single function execution (actual: 25601, limit: 32000)."
        );
    }

    fn line(text: String) -> LogLine {
        LogLine {
            level: LogLevel::Log,
            text,
            truncated: false,
            ts: Timestamp(0),
            system_code: None,
            function: None,
        }
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let mut lines = LogLines::default();
        lines.push(line("short".to_string()));
        lines.push(line("é".repeat(LOG_LINE_BYTES_MAX)));
        lines.push(line(format!("x{}", "é".repeat(LOG_LINE_BYTES_MAX))));
        let lines = lines.take();
        assert_eq!(lines[0].to_text(), "[LOG] short");
        assert_eq!(lines[1].text.len(), LOG_LINE_BYTES_MAX);
        assert_eq!(lines[2].text.len(), LOG_LINE_BYTES_MAX - 1);
        assert!(lines[2].to_text().ends_with("é (truncated due to length)"));
    }

    #[test]
    fn the_last_line_says_that_lines_are_missing() {
        let mut lines = LogLines::default();
        for n in 0..1000 {
            lines.push(line(n.to_string()));
        }
        let lines = lines.take();
        assert_eq!(lines.len(), LOG_LINES_MAX);
        assert_eq!(lines[254].text, "254");
        assert_eq!(lines[255].to_text(), format!("[ERROR] {OVERFLOW}"));
    }
}
