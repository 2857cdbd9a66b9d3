// SPDX-License-Identifier: GPL-2.0

//! Builds what the driver has for its KUnit suites, too.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(CONFIG_KUNIT, values(\"y\"))");
    println!("cargo::rustc-check-cfg=cfg(linux_7_2)");
    println!("cargo::rustc-cfg=CONFIG_KUNIT=\"y\"");
    println!("cargo::rerun-if-changed=build.rs");
}
