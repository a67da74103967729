/** A time span, in nanoseconds: `500 * Millisecond`. */
export type Duration = i64;

/** A point in time, in nanoseconds since 1970. */
export type Time = i64;

export const Nanosecond: Duration = 1;
export const Microsecond: Duration = 1_000;
export const Millisecond: Duration = 1_000_000;
export const Second: Duration = 1_000_000_000;
export const Minute: Duration = 60_000_000_000;
export const Hour: Duration = 3_600_000_000_000;
