"""python -m synthalign: the commands of synthalign."""

from synthalign.commands.cli import main

main()
