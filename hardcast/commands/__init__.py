"""The verbs, one file each, found by listing this folder.

A verb's file is named after it; its docstring is its help (the first line also stands in
`hardcast --help`, the part after `Example:` is the epilog). It offers

    add_arguments(parser)            its options; --json is every verb's and added for it
    run(args, console) -> dict|None  does the work; the dict is what --json prints

so a new verb is a new file here and its line in docs/commands.md, and nothing else.
"""
