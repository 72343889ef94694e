//! When a cron runs: the six kinds of schedule and their next times.
//!
//!     interval       first at once, then previous scheduled time + n: no drift
//!     clock schedule next matching minute after now, plus a fixed splay
//!
//! Plain functions of times; the clock and the splay come from outside. Source: spec/engine.md 15.

mod civil;
mod expression;

use serde_json::Value as Json;
use value::{Object, Timestamp, Value, object};

pub use expression::CronExpression;

const NANOS: u64 = 1_000_000_000;
/// Longest interval, in seconds: a hundred years.
const INTERVAL_SECONDS_MAX: u64 = 100 * 366 * 24 * 3600;

/// When a cron runs. All clock times are UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Every so many seconds, beginning at once.
    Interval {
        /// Length, at least one.
        seconds: u64,
    },
    /// Once an hour.
    Hourly {
        /// 0 to 59; None: a minute that the server picks.
        minute: Option<u8>,
    },
    /// Once a day.
    Daily {
        /// 0 to 23.
        hour: u8,
        /// As for `Hourly`.
        minute: Option<u8>,
    },
    /// Once a week.
    Weekly {
        /// Sunday = 0 to Saturday = 6.
        day: Weekday,
        /// 0 to 23.
        hour: u8,
        /// As for `Hourly`.
        minute: Option<u8>,
    },
    /// Once a month, not in months without that day.
    Monthly {
        /// 1 to 31.
        day: u8,
        /// 0 to 23.
        hour: u8,
        /// As for `Hourly`.
        minute: Option<u8>,
    },
    /// By an expression of five fields.
    Cron(CronExpression),
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

const WEEKDAYS: [(Weekday, &str); 7] = [
    (Weekday::Sunday, "sunday"),
    (Weekday::Monday, "monday"),
    (Weekday::Tuesday, "tuesday"),
    (Weekday::Wednesday, "wednesday"),
    (Weekday::Thursday, "thursday"),
    (Weekday::Friday, "friday"),
    (Weekday::Saturday, "saturday"),
];

/// The run after one that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRun {
    /// When.
    pub ts: Timestamp,
    /// Occurrences of an interval that passed meanwhile and will not be made up for.
    pub skipped: u64,
}

impl Schedule {
    /// Every `n` seconds.
    pub fn interval_seconds(n: u64) -> Schedule {
        Schedule::Interval { seconds: n }
    }

    /// Every `n` minutes.
    pub fn interval_minutes(n: u64) -> Schedule {
        Schedule::Interval { seconds: n.saturating_mul(60) }
    }

    /// Every `n` hours.
    pub fn interval_hours(n: u64) -> Schedule {
        Schedule::Interval { seconds: n.saturating_mul(3600) }
    }

    /// By a cron expression. Errors say which field is wrong.
    pub fn cron(expression: &str) -> Result<Schedule, String> {
        CronExpression::parse(expression).map(Schedule::Cron)
    }

    /// Whether all numbers are in their ranges.
    pub fn check(&self) -> Result<(), String> {
        if let Schedule::Interval { seconds } = self {
            return match *seconds {
                1..=INTERVAL_SECONDS_MAX => Ok(()),
                _ => Err(format!("interval of {seconds} seconds")),
            };
        }
        self.expression().map(|_| ())
    }

    /// The first run of a cron that appears at `now`. `random` is any number: it fixes the splay.
    pub fn first(&self, now: Timestamp, random: u64) -> Option<Timestamp> {
        match self {
            Schedule::Interval { .. } => Some(now),
            _ => self.next_match(now, random % self.splay_seconds()),
        }
    }

    /// The run after the one that was due at `previous` and is done at `now`.
    /// None: there is none within the years that are searched.
    pub fn next(&self, previous: Timestamp, now: Timestamp) -> Option<NextRun> {
        let Schedule::Interval { seconds } = self else {
            let splay = previous.0 / NANOS % self.splay_seconds();
            return self.next_match(now, splay).map(|ts| NextRun { ts, skipped: 0 });
        };
        let step = seconds.checked_mul(NANOS)?;
        let next = previous.0.checked_add(step)?;
        let skipped = now.0.saturating_sub(next).div_ceil(step);
        Some(NextRun { ts: Timestamp(next.checked_add(skipped.checked_mul(step)?)?), skipped })
    }

    /// Seconds over which the server spreads clock schedules: a minute, or an hour when the minute
    /// is its choice.
    fn splay_seconds(&self) -> u64 {
        match self {
            Schedule::Interval { .. } => 1,
            Schedule::Hourly { minute: None }
            | Schedule::Daily { minute: None, .. }
            | Schedule::Weekly { minute: None, .. }
            | Schedule::Monthly { minute: None, .. } => 3600,
            Schedule::Hourly { .. }
            | Schedule::Daily { .. }
            | Schedule::Weekly { .. }
            | Schedule::Monthly { .. }
            | Schedule::Cron(_) => 60,
        }
    }

    fn next_match(&self, now: Timestamp, splay: u64) -> Option<Timestamp> {
        let now_seconds = i64::try_from(now.0 / NANOS).ok()?;
        let splay = i64::try_from(splay).ok()?;
        let from = (now_seconds - splay).div_euclid(60) + 1;
        let minute = self.expression().ok()?.next_minute(from)?;
        u64::try_from(minute * 60 + splay).ok()?.checked_mul(NANOS).map(Timestamp)
    }

    fn expression(&self) -> Result<CronExpression, String> {
        let at = |minute: &Option<u8>| minute.unwrap_or(0);
        match self {
            Schedule::Interval { .. } => Err("an interval has no expression".to_string()),
            Schedule::Hourly { minute } => {
                CronExpression::parse(&format!("{} * * * *", at(minute)))
            }
            Schedule::Daily { hour, minute } => {
                CronExpression::parse(&format!("{} {hour} * * *", at(minute)))
            }
            Schedule::Weekly { day, hour, minute } => {
                CronExpression::parse(&format!("{} {hour} * * {}", at(minute), *day as u8))
            }
            Schedule::Monthly { day, hour, minute } => {
                CronExpression::parse(&format!("{} {hour} {day} * *", at(minute)))
            }
            Schedule::Cron(expression) => Ok(expression.clone()),
        }
    }

    /// Reads the form that `cronJobs().export()` gives. Errors name what is wrong.
    pub fn from_json(json: &Json) -> Result<Schedule, String> {
        let kind = json.get("type").and_then(Json::as_str).ok_or("schedule without type")?;
        let number = |name: &str| -> Result<Option<u64>, String> {
            match json.get(name) {
                None | Some(Json::Null) => Ok(None),
                Some(number) => match number.as_f64() {
                    Some(n) if n >= 0.0 && n.fract() == 0.0 && n <= 1e15 => Ok(Some(n as u64)),
                    _ => Err(format!("{name} is not a whole number")),
                },
            }
        };
        let small = |name: &str| -> Result<Option<u8>, String> {
            let wide = number(name)?;
            wide.map(|n| u8::try_from(n).map_err(|_| format!("{name} out of range"))).transpose()
        };
        let need = |name: &str| small(name)?.ok_or_else(|| format!("schedule without {name}"));
        let schedule = match kind {
            "interval" => Schedule::Interval {
                seconds: interval(number("seconds")?, number("minutes")?, number("hours")?)?,
            },
            "hourly" => Schedule::Hourly { minute: small("minuteUTC")? },
            "daily" => Schedule::Daily { hour: need("hourUTC")?, minute: small("minuteUTC")? },
            "weekly" => Schedule::Weekly {
                day: weekday(json.get("dayOfWeek").and_then(Json::as_str).unwrap_or(""))?,
                hour: need("hourUTC")?,
                minute: small("minuteUTC")?,
            },
            "monthly" => Schedule::Monthly {
                day: need("day")?,
                hour: need("hourUTC")?,
                minute: small("minuteUTC")?,
            },
            "cron" => Schedule::cron(json.get("cron").and_then(Json::as_str).unwrap_or(""))?,
            other => return Err(format!("unknown type of schedule {other:?}")),
        };
        schedule.check()?;
        Ok(schedule)
    }

    /// The form in `_cron_jobs` rows: as exported, with int64 numbers.
    pub fn to_object(&self) -> Object {
        let number = |n: u8| Value::Int64(i64::from(n));
        let mut row = match self {
            Schedule::Interval { seconds } => object! {
                "type" => "interval",
                "seconds" => i64::try_from(*seconds).unwrap_or(i64::MAX),
            },
            Schedule::Hourly { .. } => object! { "type" => "hourly" },
            Schedule::Daily { hour, .. } => {
                object! { "type" => "daily", "hourUTC" => number(*hour) }
            }
            Schedule::Weekly { day, hour, .. } => object! {
                "type" => "weekly",
                "dayOfWeek" => WEEKDAYS[*day as usize].1,
                "hourUTC" => number(*hour),
            },
            Schedule::Monthly { day, hour, .. } => object! {
                "type" => "monthly",
                "day" => number(*day),
                "hourUTC" => number(*hour),
            },
            Schedule::Cron(expression) => {
                object! { "type" => "cron", "cron" => expression.as_str() }
            }
        };
        if let Schedule::Hourly { minute: Some(minute) }
        | Schedule::Daily { minute: Some(minute), .. }
        | Schedule::Weekly { minute: Some(minute), .. }
        | Schedule::Monthly { minute: Some(minute), .. } = self
        {
            row.insert("minuteUTC", number(*minute));
        }
        row
    }

    /// Reads `to_object` back. Errors: a row that this crate did not write.
    pub fn from_object(row: &Object) -> Result<Schedule, String> {
        let fields = row.iter().map(|(name, value)| {
            let json = match value {
                Value::Int64(number) => Json::from(*number),
                other => value::json::to_json(other),
            };
            (name.to_string(), json)
        });
        Schedule::from_json(&Json::Object(fields.collect()))
    }
}

fn interval(seconds: Option<u64>, minutes: Option<u64>, hours: Option<u64>) -> Result<u64, String> {
    match (seconds, minutes, hours) {
        (Some(n), None, None) => Ok(n),
        (None, Some(n), None) => Ok(n.saturating_mul(60)),
        (None, None, Some(n)) => Ok(n.saturating_mul(3600)),
        _ => Err("an interval has exactly one of seconds, minutes and hours".to_string()),
    }
}

fn weekday(name: &str) -> Result<Weekday, String> {
    let found = WEEKDAYS.iter().find(|(_, known)| *known == name);
    found.map(|(day, _)| *day).ok_or_else(|| format!("unknown day of the week {name:?}"))
}

#[cfg(test)]
mod tests;
