//! Dates of the Gregorian calendar in UTC, as far as schedules need them.
//!
//! Days are counted from 1970-01-01 (a Thursday). Thirty lines instead of a dependency: there is
//! no time zone, no leap second and no formatting here.

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    /// The year, also before zero.
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
}

/// The date of a day number (Howard Hinnant's public-domain algorithm: years begin in March).
pub(crate) fn date_of(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u8;
    Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

/// The day number of a date.
#[cfg(test)]
pub(crate) fn days_of(date: Date) -> i64 {
    let year = date.year - i64::from(date.month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (i64::from(date.month) + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(date.day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Sunday = 0 to Saturday = 6.
pub(crate) fn weekday_of(days: i64) -> u8 {
    (days + 4).rem_euclid(7) as u8
}

/// Days in a month.
pub(crate) fn month_length(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let check = |days: i64, year: i64, month: u8, day: u8, weekday: u8| {
            let date = Date { year, month, day };
            assert_eq!(date_of(days), date);
            assert_eq!(days_of(date), days);
            assert_eq!(weekday_of(days), weekday);
        };
        check(0, 1970, 1, 1, 4);
        check(-1, 1969, 12, 31, 3);
        check(19_732, 2024, 1, 10, 3);
        check(19_782, 2024, 2, 29, 4);
        check(11_016, 2000, 2, 29, 2);
    }

    #[test]
    fn every_day_of_five_centuries_round_trips() {
        let mut expected = Date { year: 1770, month: 1, day: 1 };
        for days in days_of(expected)..days_of(Date { year: 2270, month: 1, day: 1 }) {
            assert_eq!(date_of(days), expected);
            assert_eq!(days_of(expected), days);
            if expected.day < month_length(expected.year, expected.month) {
                expected.day += 1;
            } else {
                expected.day = 1;
                expected.month = expected.month % 12 + 1;
                expected.year += i64::from(expected.month == 1);
            }
        }
    }
}
