// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the kernel's `macros` crate.

use proc_macro::TokenStream;

/// Makes a KUnit suite's module one of ordinary tests, where the suites are built.
#[proc_macro_attribute]
pub fn kunit_tests(_suite: TokenStream, module: TokenStream) -> TokenStream {
    "#[cfg(all(test, CONFIG_KUNIT = \"y\"))]"
        .parse::<TokenStream>()
        .expect("an attribute")
        .into_iter()
        .chain(module)
        .collect()
}
