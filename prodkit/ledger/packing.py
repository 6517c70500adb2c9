"""Small records, compressed: raw deflate that begins with a dictionary of what most records hold.

A record of a few hundred bytes alone has little to refer back to. What every request, answer and span is written with
(field names, MLflow's attribute names, frequent words) stands in the dictionary instead.
"""

from __future__ import annotations

import zlib

LEVEL = 3
_WORDS = (
    "The following text was written by somebody who would like to know whether there is a way to have it changed. "
    "You are a helpful assistant. Answer the question with one of these categories and nothing else. Please classify "
    "this ticket, summarise the message, translate it into English, extract the names and amounts, and return JSON "
    "with the fields. customer order number invoice payment account delivery address email phone contract report "
    "because about after again between could every first from give here into just know last make more most need never "
    "only other over people please should some than thank them then their they time under very want were what when "
    "where which will with within without would your yesterday today tomorrow Monday January "
)
_CALL = (
    '{"prompt":[{"role":"system","content":"You are "},{"role":"user","content":"'
    '"}],"response":{"id":"msg_01","container":null,"content":[{"citations":null,"text":"","type":"text"}],'
    '"role":"assistant","stop_reason":"end_turn","stop_sequence":null,"type":"message","usage":{"cache_creation":null,'
    '"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"input_tokens":,"output_tokens":,'
    '"server_tool_use":null,"service_tier":"standard"}},"response":{"id":"resp_","object":"response","status":'
    '"completed","output":[{"id":"msg_","type":"message","content":[{"annotations":[],"text":"","type":"output_text",'
    '"logprobs":[]}]}],"tool_choice":"auto","tools":[{"type":"function","function":{"name":"","description":"",'
    '"parameters":{"type":"object","properties":{"":{"type":"string"}},"required":["'
    '"tool_calls":[{"id":"call_","type":"function","function":{"arguments":"{\\"","name":"'
    '"error":"","user":"","session":"","parameters":{"temperature":0.0,"max_tokens":,"response_format":'
    '{"type":"json_schema"},"model":"gpt-4o-mini"},"failure":null}}{"role":"user","content":"'
    '"response":{"id":"chatcmpl-","choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"annotations"'
    ':[],"audio":null,"content":"","function_call":null,"refusal":null,"role":"assistant"}}],"created":17,"model":'
    '"gpt-4o-mini-2024-07-18","object":"chat.completion","service_tier":"default","system_fingerprint":"fp_","usage":'
    '{"completion_tokens":,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,'
    '"reasoning_tokens":0,"rejected_prediction_tokens":0},"prompt_tokens":,"prompt_tokens_details":{"audio_tokens":0,'
    '"cached_tokens":0},"total_tokens":}},"span":{"tags":{"mlflow.traceName":"Completions"},"metadata":'
    '{"mlflow.trace_schema.version":"3","mlflow.user":"'
)
_SPAN = (
    '{"spans":[{"trace_id":"==","span_id":"=","parent_span_id":null,"start_time_unix_nano":17,"end_time_unix_nano":17,'
    '"name":"Completions","events":[{"name":"prodkit.attempt","time_unix_nano":17,"attributes":{"target":"openai/'
    'gpt-4o-mini","failure_class":"","seconds":0.0,"waited":0.0,"breaker":"closed"}},{"name":"exception","attributes":'
    '{"exception.message":"","exception.type":"","exception.stacktrace":"Traceback (most recent call last):\\n'
    '"}}],"status":{"code":"STATUS_CODE_ERROR","message":""},"attributes":{"mlflow.spanType":"\\"CHAT_MODEL\\"",'
    '"mlflow.spanType":"\\"RETRIEVER\\"","mlflow.spanType":"\\"TOOL\\"","mlflow.spanType":"\\"CHAIN\\"",'
    '"mlflow.spanType":"\\"AGENT\\"","mlflow.spanFunctionName":"\\"","mlflow.spanInputs":"{\\"model\\": '
    '\\"gpt-4o-mini\\", \\"messages\\": [{\\"role\\": \\"system\\", \\"content\\": \\"\\"}, {\\"role\\": \\"user\\", '
    '\\"content\\": \\"\\"}], \\"temperature\\": 0}","mlflow.message.format":"\\"openai\\"","mlflow.llm.model":'
    '"\\"gpt-4o-mini\\"","mlflow.llm.provider":"\\"openai\\"","mlflow.chat.tokenUsage":"{\\"input_tokens\\": , '
    '\\"output_tokens\\": , \\"total_tokens\\": }","mlflow.spanOutputs":"{\\"id\\": \\"chatcmpl-\\", \\"choices\\": '
    '[{\\"finish_reason\\": \\"stop\\", \\"index\\": 0, \\"message\\": {\\"content\\": \\"\\", \\"role\\": '
    '\\"assistant\\"}}], \\"created\\": 17, \\"model\\": \\"gpt-4o-mini\\", \\"object\\": \\"chat.completion\\", '
    '\\"system_fingerprint\\": \\"fp_\\", \\"usage\\": {\\"completion_tokens\\": , \\"prompt_tokens\\": , '
    '\\"total_tokens\\": }}","mlflow.spanOutputs":"\\"","mlflow.spanLogLevel":"20","prodkit.request_id":"\\"req-01",'
    '"prodkit.cost.status":"\\"estimated\\"","prodkit.cost.source":"\\"genai-prices 0.","prodkit.data_source":'
    '"\\"user_input\\"","prodkit.purpose":"\\"","user.id":"\\"","session.id":"\\"","mlflow.llm.cost":'
    '"{\\"input_cost\\": 0.0, \\"output_cost\\": 0.0, \\"total_cost\\": 0.0}"},"links":[]}],"tags":{"mlflow.traceName":'
    '"","prodkit.name":"","prodkit.run_key":"run-01","prodkit.data_source":"user_input"},"metadata":'
    '{"mlflow.trace_schema.version":"3","mlflow.sourceRun":"","mlflow.user":"","mlflow.trace.user":"",'
    '"mlflow.trace.session":"","mlflow.experimentId":"\\"1\\"","mlflow.traceRequestId":"\\"tr-"},"links":[]},'
    '"events":[],"status":{"code":"STATUS_CODE_OK","message":""},"attributes":{"mlflow.traceRequestId":"\\"tr-'
)
DICTIONARY = (_WORDS + _SPAN + _CALL).encode("ascii")
"""Must never change: a record is read with the dictionary that it was written with. A better one is a second one."""

# copied for each record: 50 kB of state come from the heap, the 270 kB for long content are mapped each time
_SMALL = 1 << 13
_small = zlib.compressobj(LEVEL, zlib.DEFLATED, -13, 5, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
_large = zlib.compressobj(
    LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, DICTIONARY
)


def pack(data: bytes) -> bytes:
    """Compress; 5 us for a request and its answer, because the dictionary is loaded once and copied."""
    deflate = (_small if len(data) <= _SMALL else _large).copy()
    return deflate.compress(data) + deflate.flush()


def unpack(data: bytes) -> bytes:
    """Give back what `pack` got.

    Raises:
        ValueError: it wasn't made by `pack`.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, DICTIONARY)
    try:
        whole = inflate.decompress(data)
    except zlib.error as error:
        raise ValueError(f"not a packed record: {error}") from error
    if not inflate.eof or inflate.unused_data:
        raise ValueError("not a packed record: it doesn't end where it should")
    return whole
