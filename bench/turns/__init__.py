"""Turn-taking measured in virtual time: `bench.eval_turns` is the command, `bench/scenarios` what happens."""
