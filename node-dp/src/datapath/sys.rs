//! The calls of bpf(2) that aya keeps to itself: for pinned links, and for many entries at once.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya::Pod;

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// `bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct ObjectAttribute {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The type of attachment of XDP programs.
const BPF_XDP: u32 = 37;

/// `bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct LinkCreateAttribute {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// `bpf_attr` for `BPF_LINK_UPDATE`.
#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttribute {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// `bpf_attr` for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetachAttribute {
    link: u32,
}

/// `bpf_attr` for `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH`.
#[repr(C)]
#[derive(Default)]
struct BatchAttribute {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// `bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
struct InfoAttribute {
    fd: u32,
    length: u32,
    info: u64,
}

/// The head of `bpf_link_info`, with its part for cgroups or devices.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct LinkInfo {
    /// The type of link.
    kind: u32,
    /// The link's number.
    pub(super) id: u32,
    /// The number of the program it runs.
    pub(super) program: u32,
    _pad: u32,
    /// What it is attached to: two words for a cgroup, one for a device.
    target: [u32; 2],
    attach_type: u32,
    _tail: u32,
}

impl LinkInfo {
    /// The number of the cgroup it is attached to; zero once that is gone.
    pub(super) fn cgroup(&self) -> u64 {
        let [first, second] = self.target.map(u32::to_ne_bytes);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&first);
        bytes[4..].copy_from_slice(&second);
        u64::from_ne_bytes(bytes)
    }

    /// The index of the device it is attached to; zero once that is gone.
    pub(super) fn device(&self) -> u32 {
        self.target[0]
    }
}

/// Opens a pinned link.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = ObjectAttribute {
        path: path.as_ptr() as u64,
        ..ObjectAttribute::default()
    };
    let fd = bpf(BPF_OBJ_GET, &mut attribute)?;
    // SAFETY: the call made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches an XDP program to the device of an index by a link (5.9), in the mode that the flags say.
///
/// aya would try another way of attaching when the kernel refuses, one that ends with the process.
pub(super) fn create_xdp_link(
    program: BorrowedFd<'_>,
    device: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attribute = LinkCreateAttribute {
        program: number(program),
        target: device,
        attach_type: BPF_XDP,
        flags,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attribute)?;
    // SAFETY: the call made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a link or another object.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = ObjectAttribute {
        path: path.as_ptr() as u64,
        fd: number(object),
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &mut attribute).map(drop)
}

/// Lets a link run another program from the next call on.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = LinkUpdateAttribute {
        link: number(link),
        program: number(program),
        ..LinkUpdateAttribute::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attribute).map(drop)
}

/// Takes a link off its hook at once.
///
/// Removing its pin does so too, but at some later time.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = LinkDetachAttribute { link: number(link) };
    bpf(BPF_LINK_DETACH, &mut attribute).map(drop)
}

/// What the kernel says of a link.
pub(super) fn link_info(link: impl AsFd) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attribute = InfoAttribute {
        fd: number(link.as_fd()),
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(info)
}

/// Entries of a hash map.
pub(super) struct Batch<K, V> {
    pub(super) entries: Vec<(K, V)>,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<u32>,
}

/// Reads about `count` entries of a hash map, from a former batch on (5.6).
pub(super) fn next_entries<K: Pod, V: Pod>(
    map: impl AsFd,
    from: Option<u32>,
    count: usize,
) -> io::Result<Batch<K, V>> {
    let mut keys = Vec::<K>::with_capacity(count);
    let mut values = Vec::<V>::with_capacity(count);
    let (from, mut next) = (from.as_ref(), 0u32);
    let mut attribute = BatchAttribute {
        from: from.map_or(0, |from| std::ptr::from_ref(from) as u64),
        next: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(count).map_err(io::Error::other)?,
        map: number(map.as_fd()),
        ..BatchAttribute::default()
    };
    let is_end = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attribute) {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    let read = usize::try_from(attribute.count).map_err(io::Error::other)?;
    // SAFETY: the kernel wrote so many of each, no more than there is room for, and any bytes are a valid value.
    unsafe {
        keys.set_len(read.min(count));
        values.set_len(read.min(count));
    }
    Ok(Batch {
        entries: keys.into_iter().zip(values).collect(),
        next: (!is_end).then_some(next),
    })
}

/// Puts entries into a map (5.6), each with the value of its place; returns how many of the first were put.
pub(super) fn update_entries<K: Pod, V: Pod>(map: impl AsFd, keys: &[K], values: &[V]) -> usize {
    let count = keys.len().min(values.len());
    let mut attribute = BatchAttribute {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        // More than the kernel counts at once is put another time.
        count: u32::try_from(count).unwrap_or(u32::MAX),
        map: number(map.as_fd()),
        ..BatchAttribute::default()
    };
    match bpf(BPF_MAP_UPDATE_BATCH, &mut attribute) {
        Ok(_) => attribute.count as usize,
        // The kernel says how far it came before the map was full; of other errors it may not, and putting an entry
        // again is harmless.
        Err(error) if error.raw_os_error() == Some(libc::E2BIG) => attribute.count as usize,
        Err(_) => 0,
    }
}

/// Seconds since boot, by the clock that the programs read.
pub(super) fn seconds_since_boot() -> u32 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the struct lives until the call returns, and the clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u32::try_from(time.tv_sec).unwrap_or(u32::MAX)
}

/// The least rights of a process before 5.11 limit how much memory its maps take; the agent's are bounded by their sizes.
pub(super) fn lift_memory_limit() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the struct lives until the call returns. Where it fails and the limit matters, making a map says so.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open descriptor is not negative")
}

fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<i32> {
    // SAFETY: the attribute is a prefix of `bpf_attr` of the given size, whose rest the kernel takes for zeros, and what
    // it points to lives in the caller.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attribute),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
