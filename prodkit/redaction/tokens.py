r"""The forms of providers' tokens.

Each has a gate, a literal that must be in the text before its pattern is tried: a substring search costs 50 ns on a
prompt, a pattern 10 us. Patterns are matched where the gate was found and repeat without backtracking, and what stands
before a gate is looked at over a bounded length, so that no text makes them slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = r"[A-Za-z0-9_\-]"


@dataclass(frozen=True, slots=True)
class Token:
    """One form of a token."""

    kind: str
    gate: str
    pattern: re.Pattern[str]  # from the gate on
    before: re.Pattern[str] | None = None  # what belongs to the token before the gate; ends in `\Z`
    random: bool = False  # must look random, because words joined by hyphens have the same form
    inner: bool = False  # may follow a letter or digit
    skip: int = 0  # characters of the gate that stay in the text


def _token(
    kind: str, gate: str, rest: str, *, before: str = "", random: bool = False, inner: bool = False, keep: bool = False
) -> Token:
    behind = re.compile(f"(?:{before})\\Z") if before else None
    pattern = re.compile(re.escape(gate) + rest)
    return Token(kind, gate, pattern, behind, random, inner, len(gate) if keep else 0)


def _prefixed(kind: str, *prefixes: str, chars: str = _WORD, least: int = 16, random: bool = True) -> list[Token]:
    """Tokens that are a prefix and at least `least` characters."""
    return [_token(kind, prefix, f"{chars}{{{least},}}+", random=random) for prefix in prefixes]


TOKENS: tuple[Token, ...] = (
    # model providers
    *_prefixed("anthropic_key", "sk-ant-"),
    *_prefixed("openai_key", "sk-", "sess-", least=20),
    *_prefixed("google_key", "AIza", least=30),
    *_prefixed("groq_key", "gsk_", least=20),
    *_prefixed("xai_key", "xai-", least=20),
    *_prefixed("perplexity_key", "pplx-", least=20),
    *_prefixed("replicate_key", "r8_", least=20),
    *_prefixed("fireworks_key", "fw_", least=20),
    *_prefixed("nvidia_key", "nvapi-", least=20),
    *_prefixed("cerebras_key", "csk-", least=20),
    *_prefixed("voyage_key", "pa-", "al-", least=32),
    *_prefixed("huggingface_token", "hf_", "api_org_", chars="[A-Za-z0-9]", least=28, random=False),
    *_prefixed("tavily_key", "tvly-"),
    *_prefixed("pinecone_key", "pcsk_"),
    *_prefixed("langsmith_key", "lsv2_", "ls__", least=20),
    *_prefixed("langfuse_key", "sk-lf-", "pk-lf-"),
    *_prefixed("elevenlabs_key", "sk_", chars="[0-9a-f]", least=40),
    *_prefixed("wandb_key", "wandb_v1_", least=20),
    *_prefixed("firecrawl_key", "fc-", chars="[0-9a-f]", least=32),
    # clouds
    *[
        _token("aws_key", prefix, r"[A-Z0-9]{16,17}(?![A-Za-z0-9])")
        for prefix in ("AKIA", "A3T", "ASIA", "ABIA", "ACCA", "AROA", "AIDA", "AGPA", "ANPA")
    ],
    *_prefixed("aws_key", "ABSK", "bedrock-api-key-", chars="[A-Za-z0-9+/=]", least=20),
    *_prefixed("google_key", "ya29.", "GOCSPX-", least=20),
    *_prefixed("google_key", "1//0", least=30),
    _token("azure_key", "Q~", r"[A-Za-z0-9_~.\-]{31,34}", before=r"[A-Za-z0-9_~.]{3}\d"),
    _token("azure_key", "JQQJ9", r"[A-Za-z0-9]{10,40}+", before="[A-Za-z0-9]{20,64}"),
    _token("azure_key", "AZDO", r"[A-Za-z0-9]{4}", before="[A-Za-z0-9]{40,80}"),
    _token("azure_key", "Key=", r"[A-Za-z0-9+/]{40,90}+={0,2}", inner=True, keep=True),
    _token("azure_key", "sig=", r"[A-Za-z0-9%+/=]{20,200}+", keep=True),
    *_prefixed("digitalocean_token", "dop_v1_", "doo_v1_", "dor_v1_"),
    *_prefixed("alibaba_key", "LTAI"),
    *_prefixed("tencent_key", "AKID", least=28),
    *_prefixed("yandex_key", "AQVN", "t1.", chars=r"[A-Za-z0-9_\-.=]", least=35),
    *_prefixed("cloudflare_token", "v1.0-", least=40),
    *_prefixed("heroku_key", "HRKU-"),
    *_prefixed("fly_token", "fo1_", "fm1_", "fm2_", "fm1a_", "fm1r_", chars=r"[A-Za-z0-9+/=_,\-]", least=20),
    *_prefixed("vercel_token", "vercel_blob_rw_", "vcp_", "vck_"),
    *_prefixed("netlify_token", "nfp_", least=20),
    # code and packages
    *_prefixed("github_token", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", least=20),
    *_prefixed(
        "gitlab_token",
        *(
            "glpat-",
            "gldt-",
            "glptt-",
            "glrt-",
            "glcbt-",
            "glsoat-",
            "glft-",
            "glimt-",
            "glagent-",
            "gloas-",
            "glffct-",
            "GR1348941",
        ),
        chars=r"[A-Za-z0-9_\-.]",
        random=False,
    ),
    *_prefixed("npm_token", "npm_", least=30),
    *_prefixed("pypi_token", "pypi-", least=40),
    *_prefixed("rubygems_key", "rubygems_", least=40),
    *_prefixed("cargo_token", "cio", least=32),
    *_prefixed("clojars_token", "CLOJARS_", least=40),
    *_prefixed("docker_token", "dckr_pat_", "dckr_oat_"),
    *_prefixed("atlassian_token", "ATATT3", "ATCTT3", "ATBB", chars=r"[A-Za-z0-9_=\-]", least=24),
    *_prefixed("jfrog_token", "AKCp", "cmVmd", least=40),
    *_prefixed("sourcegraph_token", "sgp_", least=32),
    *_prefixed("postman_key", "PMAK-", "PMAT-"),
    # messages and mail
    *_prefixed(
        "slack_token",
        "xoxb-",
        "xoxp-",
        "xoxa-",
        "xoxr-",
        "xoxs-",
        "xoxo-",
        "xoxe-",
        "xoxe.",
        "xapp-",
        chars=r"[A-Za-z0-9.\-]",
        least=10,
        random=False,
    ),
    _token("slack_webhook", "hooks.slack.com/", r"(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,}+", keep=True),
    _token("discord_webhook", "/api/webhooks/", r"\d{10,25}/[\w\-]{40,}+", inner=True, keep=True),
    _token("teams_webhook", ".webhook.office.com/", r"webhookb?2?/[\w\-@/]{20,}+", inner=True, keep=True),
    _token("telegram_token", ":AA", r"[\w\-]{32,34}+", before=r"\d{5,16}"),
    _token("twilio_key", "SK", r"[0-9a-fA-F]{32}(?![0-9a-zA-Z])"),
    _token("twilio_key", "AC", r"[0-9a-fA-F]{32}(?![0-9a-zA-Z])"),
    _token("sendgrid_key", "SG.", r"[\w\-=]{16,32}\.[\w\-=.]{16,}+"),
    _token("mailgun_key", "key-", r"[0-9a-f]{32}(?![0-9a-z])"),
    _token("mailchimp_key", "-us", r"\d{1,2}(?!\d)", before="[0-9a-f]{32}"),
    *_prefixed("brevo_key", "xkeysib-", "xsmtpsib-", least=30),
    *_prefixed("postmark_key", "pmak-"),
    # money
    *_prefixed(
        "stripe_key",
        "sk_live_",
        "sk_test_",
        "sk_prod_",
        "rk_live_",
        "rk_test_",
        "rk_prod_",
        "pk_live_",
        "pk_test_",
        least=10,
    ),
    *_prefixed("stripe_key", "whsec_", chars="[A-Za-z0-9+/=]", least=20),
    *_prefixed("square_token", "sq0atp-", "sq0csp-", "sq0idp-", "EAAA", least=22),
    *_prefixed("shopify_token", "shpat_", "shpca_", "shppa_", "shpss_", "shptka_", least=30),
    *_prefixed("plaid_token", "access-sandbox-", "access-development-", "access-production-", least=30),
    *_prefixed("flutterwave_key", "FLWSECK_TEST-", "FLWSECK-", "FLWPUBK_TEST-", least=12),
    *_prefixed("razorpay_key", "rzp_live_", "rzp_test_", least=14),
    *_prefixed("braintree_token", "access_token$production$", "access_token$sandbox$", chars=r"[a-z0-9$]", least=20),
    *_prefixed("easypost_key", "EZAK", "EZTK", least=40),
    *_prefixed("shippo_key", "shippo_live_", "shippo_test_", least=30),
    *_prefixed("duffel_key", "duffel_live_", "duffel_test_", chars=r"[A-Za-z0-9_=\-]", least=30),
    # data, operations
    *_prefixed("databricks_token", "dapi", chars="[0-9a-f-]", least=32),
    *_prefixed("vault_token", "hvs.", "hvb.", "hvr.", least=20),
    _token("vault_token", "s.", "[A-Za-z0-9]{24}(?![A-Za-z0-9_.(])", random=True),
    _token("terraform_token", ".atlasv1.", r"[\w\-=]{50,}+", before="[A-Za-z0-9]{14}"),
    *_prefixed(
        "doppler_token",
        "dp.pt.",
        "dp.st.",
        "dp.ct.",
        "dp.sa.",
        "dp.scim.",
        "dp.audit.",
        chars=r"[A-Za-z0-9_.]",
        least=30,
    ),
    *_prefixed("pulumi_token", "pul-", chars="[0-9a-f]", least=40),
    *_prefixed("grafana_token", "glsa_", "glc_", "eyJrIjoi", chars="[A-Za-z0-9_+/=]", least=30),
    *_prefixed("newrelic_key", "NRAK-", "NRII-", "NRJS-", "NRAL-"),
    *_prefixed("sentry_token", "sntrys_", "sntryu_", chars="[A-Za-z0-9_+/=]", least=30),
    *_prefixed("dynatrace_token", "dt0c01.", "dt0s01.", chars=r"[A-Za-z0-9.]", least=40),
    *_prefixed("supabase_key", "sbp_", "sb_secret_", "sb_publishable_", least=20),
    *_prefixed("planetscale_token", "pscale_tkn_", "pscale_oauth_", "pscale_pw_", chars=r"[\w=.\-]", least=30),
    *_prefixed("airtable_token", "pat", chars=r"[A-Za-z0-9]{14}\.[0-9a-f]", least=60),
    *_prefixed("notion_token", "ntn_", "secret_", chars="[A-Za-z0-9]", least=40),
    *_prefixed("linear_key", "lin_api_", "lin_oauth_", least=30),
    *_prefixed("figma_token", "figd_", "figu_", least=30),
    *_prefixed("typeform_token", "tfp_", chars=r"[\w.=\-]", least=40),
    *_prefixed("prefect_key", "pnu_", "pnb_", least=30),
    *_prefixed("readme_key", "rdme_", least=40),
    *_prefixed("mapbox_token", "sk.eyJ", "pk.eyJ", chars=r"[\w.\-]", least=30),
    *_prefixed("facebook_token", "EAAG", "EAAC", "EAAM", least=40),
    *_prefixed("twitter_token", "AAAAAAAAAAAAAAAAAAAAA", chars="[A-Za-z0-9%]", least=50),
    *_prefixed("onepassword_token", "ops_eyJ", chars="[A-Za-z0-9_+/=]", least=40),
    *_prefixed("age_key", "AGE-SECRET-KEY-1", chars="[A-Z0-9]", least=50),
    *_prefixed("openshift_token", "sha256~", least=40),
    *_prefixed("adobe_key", "p8e-", least=30),
    *_prefixed("infracost_key", "ico-", least=30),
    *_prefixed("clickhouse_key", "4b1d", chars="[A-Za-z0-9]", least=38),
    *_prefixed("frameio_token", "fio-u-", chars=r"[A-Za-z0-9_=\-]", least=40),
    *_prefixed("harness_key", "pat.", "sat.", chars=r"[A-Za-z0-9_\-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]", least=20),
    *_prefixed("intra42_secret", "s-s4t2ud-", "s-s4t2af-", chars="[0-9a-f]", least=40),
    *_prefixed("octopus_key", "API-", chars="[A-Z0-9]", least=26),
    *_prefixed("scalingo_token", "tk-us-", least=40),
    *_prefixed("settlemint_token", "sm_aat_", "sm_pat_", "sm_sat_", chars="[A-Za-z0-9]", random=False),
    *_prefixed("mapbox_token", "pk.", chars=r"[A-Za-z0-9.]", least=70),
    *_prefixed("onepassword_key", "A3-", chars=r"[A-Z0-9]{6}-(?:[A-Z0-9]{5,6}-){2,4}[A-Z0-9]", least=5, random=False),
    _token("maxmind_key", "_mmk", "(?![A-Za-z0-9_])", before="[A-Za-z0-9]{6}_[A-Za-z0-9]{29}"),
    _token(
        "authress_key",
        ".acc",
        r"[_\-][A-Za-z0-9\-]{10,32}\.[\w+/=\-]{30,}+",
        before=r"(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}",
    ),
    *_prefixed("salesforce_token", "00D", chars=r"[A-Za-z0-9]{12,15}![A-Za-z0-9_.]", least=60),
)
