//! Cron expressions: five fields in UTC, in the dialect of the official backend.
//!
//!     minute 0–59 · hour 0–23 · day of month 1–31 · month 1–12 · day of week 0–6 (0 = Sunday)
//!
//! `a`, `a-b`, `a/n`, `a-b/n`, `*/n` and comma lists; names of months and days; for days also `L`,
//! `L-n`, `LW`, `L-nW`, `nW`, `5L` and `MON#2`, each alone in its field. If both day fields are
//! restricted a day matches when either does. Source: spec/engine.md 15, vectors/cron-expr.json.
//! Deviation on purpose: a wrapping range (`22-2`) starts at its start, not one before it.

use super::civil::{self, Date};

/// Years searched for the next match. A 29 February on a given weekday comes back within 40.
const SEARCH_YEARS: i64 = 60;
/// Longest expression that is parsed, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A parsed expression, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronExpression {
    text: String,
    minutes: u64,
    hours: u64,
    days: DayOfMonth,
    months: u64,
    weekdays: DayOfWeek,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DayOfMonth {
    Every,
    Set(u64),
    /// `L`, `L-n`: n days before the last day.
    BeforeLast(u8),
    /// `LW`, `L-nW`: the weekday nearest to n days before the last day.
    WeekdayBeforeLast(u8),
    /// `nW`: the weekday nearest to day n.
    WeekdayNear(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DayOfWeek {
    Every,
    Set(u64),
    /// `5L`: the last such weekday of the month.
    Last(u8),
    /// `MON#2`: the n-th such weekday of the month.
    Nth(u8, u8),
}

/// Range and names of one field.
struct Field {
    what: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { what: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { what: "hour", min: 0, max: 23, names: &[] };
const DAY_OF_MONTH: Field = Field { what: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field { what: "month", min: 1, max: 12, names: &MONTHS };
const DAY_OF_WEEK: Field = Field { what: "day of week", min: 0, max: 6, names: &DAYS };

impl CronExpression {
    /// Parses five fields. Errors say which field and why; also an expression that can never
    /// match is an error.
    pub fn parse(text: &str) -> Result<CronExpression, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("expression is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let blank = |c: char| c == ' ' || c == '\t';
        if text.starts_with(blank) || text.ends_with(blank) {
            return Err("no spaces before or after the expression".to_string());
        }
        let fields: Vec<&str> = text.split(blank).filter(|field| !field.is_empty()).collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected five fields, found {}", fields.len()));
        };
        let expression = CronExpression {
            text: text.to_string(),
            minutes: MINUTE.set(minute)?,
            hours: HOUR.set(hour)?,
            days: day_of_month(day)?,
            months: MONTH.set(month)?,
            weekdays: day_of_week(weekday)?,
        };
        match expression.next_minute(0) {
            Some(_) => Ok(expression),
            None => Err("expression never matches".to_string()),
        }
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first matching minute at or after minute `from`, both counted from the Unix epoch.
    /// None: no match within `SEARCH_YEARS`.
    pub(crate) fn next_minute(&self, from: i64) -> Option<i64> {
        let minute_of_day = from.rem_euclid(1440);
        let mut day = from.div_euclid(1440);
        if self.matches_day(day)
            && let Some(minute) = self.first_minute_of_day(minute_of_day)
        {
            return Some(day * 1440 + minute);
        }
        let last = day + SEARCH_YEARS * 366;
        while day < last {
            day += 1;
            let date = civil::date_of(day);
            if self.months & (1 << date.month) == 0 {
                day += i64::from(civil::month_length(date.year, date.month) - date.day);
            } else if self.matches_day(day) {
                return self.first_minute_of_day(0).map(|minute| day * 1440 + minute);
            }
        }
        None
    }

    fn first_minute_of_day(&self, from: i64) -> Option<i64> {
        (from..1440)
            .find(|at| self.hours & (1 << (at / 60)) != 0 && self.minutes & (1 << (at % 60)) != 0)
    }

    fn matches_day(&self, day: i64) -> bool {
        let date = civil::date_of(day);
        if self.months & (1 << date.month) == 0 {
            return false;
        }
        match (self.days.matches(date, day), self.weekdays.matches(date, day)) {
            (None, None) => true,
            (Some(matches), None) | (None, Some(matches)) => matches,
            (Some(by_month), Some(by_week)) => by_month || by_week,
        }
    }
}

impl DayOfMonth {
    /// None: not restricted.
    fn matches(&self, date: Date, day: i64) -> Option<bool> {
        let length = civil::month_length(date.year, date.month);
        let nearest = |target: u8| {
            (1..=length).contains(&target)
                && nearest_weekday(target, length, day - i64::from(date.day)) == date.day
        };
        match *self {
            DayOfMonth::Every => None,
            DayOfMonth::Set(days) => Some(days & (1 << date.day) != 0),
            DayOfMonth::BeforeLast(n) => Some(date.day + n == length),
            DayOfMonth::WeekdayBeforeLast(n) => Some(n < length && nearest(length - n)),
            DayOfMonth::WeekdayNear(n) => Some(nearest(n)),
        }
    }
}

impl DayOfWeek {
    /// None: not restricted.
    fn matches(&self, date: Date, day: i64) -> Option<bool> {
        let weekday = civil::weekday_of(day);
        match *self {
            DayOfWeek::Every => None,
            DayOfWeek::Set(days) => Some(days & (1 << weekday) != 0),
            DayOfWeek::Last(wanted) => {
                let length = civil::month_length(date.year, date.month);
                Some(weekday == wanted && date.day + 7 > length)
            }
            DayOfWeek::Nth(wanted, n) => Some(weekday == wanted && (date.day - 1) / 7 + 1 == n),
        }
    }
}

/// The Monday to Friday nearest to `target` inside the month; `day_zero` is the day number before
/// the first.
fn nearest_weekday(target: u8, length: u8, day_zero: i64) -> u8 {
    match civil::weekday_of(day_zero + i64::from(target)) {
        6 if target == 1 => 3,
        6 => target - 1,
        0 if target == length => target - 2,
        0 => target + 1,
        _ => target,
    }
}

impl Field {
    /// The values of a field as a bit set.
    fn set(&self, text: &str) -> Result<u64, String> {
        if text == "*" {
            return Ok(self.range(self.min, self.max, 1));
        }
        let mut set = 0;
        for (at, item) in text.split(',').enumerate() {
            set |= match item {
                "*" if at == 0 => return Err(self.bad(text)),
                // In a later place of a list the official parser reads it as the least value.
                "*" => 1 << self.min,
                _ => self.item(item)?,
            };
        }
        Ok(set)
    }

    fn item(&self, text: &str) -> Result<u64, String> {
        let (base, step) = match text.split_once('/') {
            None => (text, None),
            Some((base, step)) => (base, Some(self.step(step)?)),
        };
        let (from, to) = if base == "*" {
            (self.min, self.max)
        } else if let Some((from, to)) = base.split_once('-') {
            (self.value(from)?, self.value(to)?)
        } else {
            let from = self.value(base)?;
            (from, if step.is_some() { self.max } else { from })
        };
        Ok(self.range(from, to, step.unwrap_or(1)))
    }

    /// Every `step`-th value from `from` to `to`, going over the end where `to` is smaller.
    fn range(&self, from: u8, to: u8, step: u8) -> u64 {
        let width = u32::from(self.max - self.min) + 1;
        let span = (u32::from(to) + width - u32::from(from)) % width;
        let values = (0..=span).step_by(usize::from(step));
        values.fold(0, |set, offset| {
            let value = (u32::from(from - self.min) + offset) % width + u32::from(self.min);
            set | 1 << value
        })
    }

    fn step(&self, text: &str) -> Result<u8, String> {
        match number(text) {
            Some(step) if step >= 1 && step <= self.max - self.min => Ok(step),
            _ => Err(self.bad(text)),
        }
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let name = text.to_ascii_lowercase();
        if let Some(at) = self.names.iter().position(|known| **known == name) {
            return Ok(at as u8 + self.min);
        }
        match number(text) {
            Some(value) if (self.min..=self.max).contains(&value) => Ok(value),
            _ => Err(self.bad(text)),
        }
    }

    fn bad(&self, text: &str) -> String {
        format!("bad {} {text:?}", self.what)
    }
}

fn day_of_month(text: &str) -> Result<DayOfMonth, String> {
    let bad = || DAY_OF_MONTH.bad(text);
    let before_last = |n: &str| number(n).filter(|n| (1..=30).contains(n)).ok_or_else(bad);
    if text == "*" {
        return Ok(DayOfMonth::Every);
    }
    match (text.strip_prefix('L'), text.strip_suffix('W')) {
        (Some(""), _) => Ok(DayOfMonth::BeforeLast(0)),
        (Some("W"), _) => Ok(DayOfMonth::WeekdayBeforeLast(0)),
        (Some(rest), weekday) => {
            let n = rest.strip_prefix('-').ok_or_else(bad)?;
            match weekday {
                Some(_) => before_last(&n[..n.len() - 1]).map(DayOfMonth::WeekdayBeforeLast),
                None => before_last(n).map(DayOfMonth::BeforeLast),
            }
        }
        (None, Some(n)) => DAY_OF_MONTH.value(n).map(DayOfMonth::WeekdayNear),
        (None, None) => DAY_OF_MONTH.set(text).map(DayOfMonth::Set),
    }
}

fn day_of_week(text: &str) -> Result<DayOfWeek, String> {
    if text == "*" {
        return Ok(DayOfWeek::Every);
    }
    if text == "L" {
        return Ok(DayOfWeek::Set(1 << 6));
    }
    if let Some(day) = text.strip_suffix('L') {
        return DAY_OF_WEEK.value(day).map(DayOfWeek::Last);
    }
    if let Some((day, nth)) = text.split_once('#') {
        let nth = number(nth).filter(|n| (1..=5).contains(n));
        let nth = nth.ok_or_else(|| DAY_OF_WEEK.bad(text))?;
        return DAY_OF_WEEK.value(day).map(|day| DayOfWeek::Nth(day, nth));
    }
    DAY_OF_WEEK.set(text).map(DayOfWeek::Set)
}

/// Digits only: no sign, no point.
fn number(text: &str) -> Option<u8> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
