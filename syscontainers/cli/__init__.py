"""The command line: one file per verb, each with its parser, a typed request and do_VERB."""
