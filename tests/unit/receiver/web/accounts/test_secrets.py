from receiver.web.accounts import secrets


def test_secrets_are_long_and_new() -> None:
    made = {secrets.new_session_secret() for _ in range(100)} | {secrets.new_token() for _ in range(100)}
    assert len(made) == 200
    assert min(map(len, made)) >= 43


def test_token_has_its_prefix() -> None:
    assert secrets.new_token().startswith("bw_")


def test_text_that_is_no_secret_has_no_hash() -> None:
    assert secrets.secret_hash("") is None
    assert secrets.secret_hash("ä") is None
    assert secrets.secret_hash("a" * 65) is None
    assert len(secrets.secret_hash(secrets.new_token()) or b"") == 32


def test_csrf_token_belongs_to_its_session() -> None:
    one, other = secrets.new_session_secret(), secrets.new_session_secret()
    assert secrets.csrf_token(one) == secrets.csrf_token(one) != secrets.csrf_token(other)
    assert secrets.same(secrets.csrf_token(one), secrets.csrf_token(one))
    assert not secrets.same("\ud800ä", secrets.csrf_token(one))


def test_browser_is_known_to_the_account_that_it_signed_in_to() -> None:
    proof = secrets.browser_proof("$argon2id$one")
    assert secrets.proven_browser(proof, "$argon2id$one") == proof.partition(".")[0]
    for given, password_hash in (
        *((proof, "$argon2id$two"), (proof[:-1], "$argon2id$one"), ("", "$argon2id$one"), ("ä.b", "$argon2id$one")),
        (secrets.browser_proof("$argon2id$one", "." + proof), "$argon2id$one"),
    ):
        assert secrets.proven_browser(given, password_hash) is None
