"""What the documentation says, run: its code blocks, its links, its site."""

import pytest

pytest.register_assert_rewrite("docs.adopting_walk", "docs.commands", "docs.reader", "docs.walk")
