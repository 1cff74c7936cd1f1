// Numbers for people, the same on both pages and as the command line prints them: decimal prefixes, a narrow space
// before the unit, at most one decimal.

const NARROW = "\u202f";
const whole = new Intl.NumberFormat("en");

function scaled(value, units) {
  let step = 0;
  while (value >= 999.5 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step === 0 || value >= 99.5 ? 0 : 1;
  return value.toFixed(digits) + NARROW + units[step];
}

/** `1.4 TB` */
export const bytes = (value) => scaled(value, ["B", "kB", "MB", "GB", "TB", "PB"]);
/** `12.3 Gbit/s` */
export const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"]);
/** `12,345` */
export const count = (value) => whole.format(value);
/** `97.2 %`; a share that is not whole never reads as 0 or 100. */
export function percent(share) {
  const value = share * 100;
  const text = value.toFixed(value >= 99.95 || value === 0 ? 0 : 1);
  if (share < 1 && text === "100") return `99.9${NARROW}%`;
  if (share > 0 && text === "0.0") return `<${NARROW}0.1${NARROW}%`;
  return `${text.replace(/\.0$/, "")}${NARROW}%`;
}
/** `3 objects`, `1 object` */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** `14:03:22` of the reader's clock. */
export const time = (at) => at.toLocaleTimeString("en-GB");

/** `1:02:03` or `2:03`. */
export function clock(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60), total % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

/** `4 s ago`, `3 min ago`, `2 h ago`, `5 days ago`; both in milliseconds. */
export function ago(then, now) {
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 90) return `${seconds}${NARROW}s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)}${NARROW}min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)}${NARROW}h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** The wire's hour `2026-11-23T14Z` as a Date. */
export const hourStart = (hour) => new Date(hour.replace("Z", ":00:00Z"));
