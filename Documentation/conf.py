# SPDX-License-Identifier: GPL-2.0
#
# Sphinx's configuration, for `make htmldocs`. The `kernel-doc` directive is the kernel's own
# extension, out of the kernel source of the set-up.

import os
import sys

# Where the extension looks for the kernel's Python modules.
kernel = os.environ.setdefault("srctree", "/kernel/source")
sys.path.insert(0, os.path.join(kernel, "Documentation/sphinx"))

project = "qemufile"
copyright = "the authors of qemufile"

extensions = ["kerneldoc"]
# The paths of the kernel-doc directives begin at the top of this repository.
kerneldoc_srctree = os.path.abspath("..")

root_doc = "index"
primary_domain = "c"
highlight_language = "none"
nitpicky = True

html_theme = "alabaster"
html_theme_options = {
    "description": "a migration stream in the kernel",
    "fixed_sidebar": True,
    "page_width": "72em",
    "body_max_width": "56em",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_copy_source = False
