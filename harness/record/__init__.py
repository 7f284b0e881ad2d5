# SPDX-License-Identifier: GPL-2.0-only
"""What a run leaves behind: the result and its schema, and the timeline.

No judgement and no drawing is made here.
May import: base.
"""
