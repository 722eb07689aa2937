//! The real binary, over real sockets and real disks: what it promises when it is loaded, stopped, killed, starved or cut
//! off from power. `support` starts it and sends to it.

mod support;
