"""How an accelerated stage begins: forked from a process that has the imports of other people's packages behind it."""
