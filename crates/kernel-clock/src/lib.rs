//! Asks the kernel whether its clock is synchronised. A separate crate, because no library wraps the system call and
//! cleat itself forbids `unsafe`. Knows nothing of cleat.

/// Whether the kernel says that its clock is synchronised. Calls `adjtimex` (see its manual page) and changes nothing.
/// False if the call fails.
#[allow(unsafe_code, reason = "the system call has no safe wrapper")]
pub fn is_synchronised() -> bool {
    // SAFETY: `timex` consists of integers, for which zero is a valid value. With `modes` 0 it requests no change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local `timex`, and the kernel does not keep it.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    // -1 is an error of the call. All values but `TIME_ERROR` mean synchronised; some announce a leap second.
    answer >= 0 && answer != libc::TIME_ERROR
}
