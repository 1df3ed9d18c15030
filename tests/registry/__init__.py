"""What the tests of every op share: arguments drawn from samples, an independent gradient checker, the list of ops."""
