//! Whether the kernel says that its clock is synchronised. A crate of its own, because no library wraps the call and cleat
//! itself forbids `unsafe`.

/// Reads the kernel's state by `adjtimex` (see its manual page); changes nothing. False if the kernel does not say.
#[allow(unsafe_code, reason = "the system call has no safe wrapper")]
pub fn is_synchronised() -> bool {
    // SAFETY: `timex` consists of integers, for which all zeroes are a value; without modes, it asks for no change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` of this function, and the kernel keeps none.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    // -1 is an error of the call; the others say that it is synchronised, and whether a leap second is near.
    answer >= 0 && answer != libc::TIME_ERROR
}
