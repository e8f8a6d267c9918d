from receiver.web.accounts import secrets


def test_secrets_are_long_and_new() -> None:
    made = {secrets.new_session_secret() for _ in range(100)} | {secrets.new_token() for _ in range(100)}
    assert len(made) == 200
    assert min(map(len, made)) >= 43


def test_token_has_its_prefix() -> None:
    assert secrets.new_token().startswith("bw_")
