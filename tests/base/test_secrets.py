"""What is a secret, and what is not."""

from __future__ import annotations

import pytest

from base.secrets import find_secret, secret_in
from base.signature import is_signed, sign

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password", "x"),
        ("kafka.ssl.key.pem", "abc"),
        ("ssl.key.pem", "abc"),
        ("spark.hadoop.fs.s3a.secret.key", "x"),
        ("spark.authenticate.secret", "x"),
        ("url", "jdbc:mysql://user:pw@host/shop"),
        ("url", "jdbc:mysql://address=(host=h)(port=3306)(user=u)(password=pw)/shop"),
        ("url", "jdbc:mysql://(host=h,password=pw)/shop"),
        ("url", "jdbc:postgresql://host/shop?user=u&password=pw"),
        ("url", "jdbc:sqlserver://host;databaseName=d;password=pw"),
        ("url", "jdbc:oracle:thin:scott/tiger@host:1521:d"),
        ("url", "jdbc:x://h/d?accessToken=x"),
        ("anything", "x:password=y"),
        ("path", "s3a://AKIAIOSFODNN7EXAMPLE:wJalr@bucket/logs/*.json"),
        ("path", "s3a://KEY:SECRET@bucket/logs"),
        ("anything", "-----BEGIN PRIVATE KEY-----\nMII"),
        ("anything", "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        ("spark.driver.extraJavaOptions", "-Xmx1g -Djavax.net.ssl.trustStorePassword=changeit"),
        ("spark.executor.extraJavaOptions", "-Djavax.net.ssl.keyStorePassword=changeit -Da=b"),
        ("beam_pipeline_args", "--s3_secret_access_key=x"),
        ("beam_pipeline_args", "--password=x"),
        ("conf", "sasl.jaas.config=org.apache.kafka...PlainLoginModule"),
        ("anything", 'Login required username="a" password="hunter2";'),
        ("anything", '{"password":"hunter2"}'),
        ("path", "https://ghp_abcdefghijklmnop@github.com/a/b"),
        ("url", "https://x.blob.core.windows.net/c?sv=1&sig=abcdefghij%3D"),
        ("authorization", "Bearer abc"),
        ("anything", "Bearer abcdefghijkl"),
        ("smtp_pass", "x"),
        ("pass", "x"),
        ("ssl_key_pem", "x"),
        ("schema.registry.basic.auth.user.info", "a:b"),
        ("password", 12345678),
        ("header", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc"),
    ],
)
def test_secrets_are_found_by_key_and_by_content(key: str, value: object) -> None:
    assert secret_in(key, value) is not None
    assert str(value) not in str(secret_in(key, value)) or len(str(value)) < 4
    content = {"sources": [{"name": "a", "options": {key: value}}, "b"]}
    found = find_secret(content)
    assert found is not None
    assert found[0].startswith("sources.")
    assert find_secret({key: [value]}) is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password_env", "SHOP_PASSWORD"),
        ("url", "jdbc:mysql://host:3306/shop?useSSL=true"),
        ("url", "jdbc:mysql://user@host/shop"),
        ("path", "s3a://bucket/logs/{SPAN}/*.json"),
        ("path", "hdfs://namenode:8020/logs/dt={YYYY}-{MM}-{DD}"),
        ("spark.hadoop.fs.s3a.aws.credentials.provider", "org.apache.Provider"),
        ("spark.kubernetes.driver.secrets.spark-secret", "/etc/secrets"),
        ("ssl.truststore.location", "/etc/trust.jks"),
        ("spark.driver.extraJavaOptions", "-Xmx1g -Dfile.encoding=UTF-8"),
        ("max_tokens", 5),
        ("image", "registry.example:5000/team/ctr@sha256:abc"),
        ("password", ""),
        ("image", "registry:5000/ctr@sha256:abc"),
        ("ssl.ca.pem", "-----BEGIN CERTIFICATE-----"),
        ("text_tokenizer", "bert"),
        ("args", "--tokenizer=bert --num_tokens=128"),
        ("token_count", "5"),
        ("num_tokens", "128"),
        ("sasl.oauthbearer.token.endpoint.url", "https://login.example/token"),
        ("secret_name", "shop-db"),
        ("spark.security.credentials.hive.enabled", "false"),
        ("spark.kubernetes.authenticate.oauthTokenFile", "/var/run/token"),
        ("sasl.password_is_set", True),
        ("note", "mailto:a/b@c"),
    ],
)
def test_what_is_none_is_let_through(key: str, value: object) -> None:
    assert find_secret({"a": {key: value}}) is None


def test_structures_are_looked_into() -> None:
    assert find_secret({"env": [{"name": "DB_PASSWORD", "value": "x"}]}) is not None
    assert find_secret({"password": {"value": "x"}}) is not None
    assert find_secret({"options_env": {"sasl.password": "hunter2!"}}) is not None
    assert find_secret({"secrets": [{"secret": {"name": "shop-db", "key": "a"}}]}) is None


def test_a_key_may_be_known_to_be_harmless_but_not_its_content() -> None:
    assert find_secret({"a": {"token": "item_id"}}, ["a.token"]) is None
    assert find_secret({"b": {"token": "item_id"}}, ["a.token"]) is not None
    assert find_secret({"a": {"token": "s3a://KEY:SECRET@b"}}, ["a.token"]) is not None


def test_names_of_variables_are_no_secrets() -> None:
    assert find_secret({"options_env": {"kafka.sasl.jaas.config": "JAAS"}}) is None


def test_a_signature_is_of_one_request_and_all_that_is_said() -> None:
    said = {"shown": ["a"], "propensities": [0.1], "text": "ä"}
    signed = {**said, "signature": sign(b"key", "r1", said)}
    assert is_signed(b"key", "r1", signed)
    assert not is_signed(b"key", "r2", signed)
    assert not is_signed(b"other", "r1", signed)
    assert not is_signed(b"key", "r1", {**signed, "propensities": [1.0]})
    assert not is_signed(b"key", "r1", said)
    assert not is_signed(b"key", "r1", {**said, "signature": 5})
