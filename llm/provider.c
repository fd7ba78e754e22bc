/* llm/provider.c: see provider.h. Default models are cheap general ones; a stored profile names its own. */
#include "llm/provider.h"

#include "base/own.h"
#include "llm/protocol.h"

#define OPENAI_LIKE &sl_protocol_openai
#define LOADING_MS  330000 /* a local server may load a model for five minutes before the first byte */

const struct sl_provider sl_provider_table[] = {
	{
		.id = "openai",
		.env = "OPENAI_API_KEY",
		.base_url = "https://api.openai.com/v1",
		.model = "gpt-4.1-mini",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_MAX_COMPLETION_TOKENS,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{
		.id = "anthropic",
		.env = "ANTHROPIC_API_KEY",
		.base_url = "https://api.anthropic.com",
		.model = "claude-sonnet-4-5",
		.protocol = &sl_protocol_anthropic,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{
		.id = "gemini",
		.env = "GEMINI_API_KEY",
		.base_url = "https://generativelanguage.googleapis.com",
		.model = "gemini-2.5-flash",
		.protocol = &sl_protocol_gemini,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{
		.id = "deepseek",
		.env = "DEEPSEEK_API_KEY",
		.base_url = "https://api.deepseek.com/v1",
		.model = "deepseek-chat",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_NO_SCHEMA | SL_QUIRK_THINKING_TYPE,
		.can = SL_CAN_TOOLS | SL_CAN_THINK,
	},
	{
		.id = "groq",
		.env = "GROQ_API_KEY",
		.base_url = "https://api.groq.com/openai/v1",
		.model = "llama-3.3-70b-versatile",
		.protocol = OPENAI_LIKE,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{
		.id = "openrouter",
		.env = "OPENROUTER_API_KEY",
		.base_url = "https://openrouter.ai/api/v1",
		.model = "openai/gpt-4.1-mini",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_REASONING_OBJECT,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{
		.id = "dashscope",
		.env = "DASHSCOPE_API_KEY",
		.base_url = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
		.model = "qwen-plus",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_NO_SCHEMA | SL_QUIRK_THINKING_BUDGET,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK,
	},
	{
		.id = "moonshot",
		.env = "MOONSHOT_API_KEY",
		.base_url = "https://api.moonshot.ai/v1",
		.model = "kimi-latest",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_NO_SCHEMA | SL_QUIRK_THINKING_SWITCH,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK,
	},
	{
		.id = "azure",
		.env = "AZURE_OPENAI_API_KEY",
		.protocol = &sl_protocol_azure,
		.quirks = SL_QUIRK_MAX_COMPLETION_TOKENS,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
		.env_url = "AZURE_OPENAI_ENDPOINT",
		.env_model = "AZURE_OPENAI_DEPLOYMENT",
		.env_version = "AZURE_OPENAI_API_VERSION",
	},
	{.id = "bedrock", .env = "AWS_ACCESS_KEY_ID"},
	{
		.id = "siliconflow",
		.env = "SILICONFLOW_API_KEY",
		.base_url = "https://api.siliconflow.com/v1",
		.model = "Qwen/Qwen3-8B",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_NO_SCHEMA | SL_QUIRK_THINKING_BUDGET,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK,
	},
	{
		.id = "zhipu",
		.env = "ZHIPUAI_API_KEY",
		.base_url = "https://open.bigmodel.cn/api/paas/v4",
		.model = "glm-4.5-flash",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_NO_SCHEMA | SL_QUIRK_THINKING_SWITCH,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK,
	},
	{
		.id = "ollama",
		.env = "OLLAMA_HOST",
		.env_is_url = true,
		.base_url = "http://127.0.0.1:11434",
		.model = "llama3.2",
		.protocol = &sl_protocol_ollama,
		.quirks = SL_QUIRK_KEYLESS,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
		.first_byte_ms = LOADING_MS,
	},
	{
		.id = "lmstudio",
		.env = "LMSTUDIO_URL",
		.env_is_url = true,
		.base_url = "http://127.0.0.1:1234/v1",
		.model = "local-model",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_KEYLESS,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
		.first_byte_ms = LOADING_MS,
	},
	{
		.id = "openai-compatible",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_KEYLESS,
		.can = SL_CAN_TOOLS | SL_CAN_SEE | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{
		.id = "sim",
		.model = "sim",
		.protocol = OPENAI_LIKE,
		.quirks = SL_QUIRK_KEYLESS,
		.can = SL_CAN_TOOLS | SL_CAN_THINK | SL_CAN_SCHEMA,
	},
	{0},
};

/* By how the names of its models begin; the first that fits. */
static const struct {
	const char *head, *provider;
} families[] = {
	{"gpt-", "openai"},        {"chatgpt-", "openai"},   {"o1", "openai"},      {"o3", "openai"},
	{"o4", "openai"},          {"claude-", "anthropic"}, {"gemini-", "gemini"}, {"models/gemini-", "gemini"},
	{"deepseek-", "deepseek"}, {"qwen", "dashscope"},    {"qwq", "dashscope"},  {"kimi-", "moonshot"},
	{"moonshot-", "moonshot"}, {"glm-", "zhipu"},
};

const struct sl_provider *sl_provider_of_model(struct sl_str model)
{
	if (memchr(model.p, ':', model.len)) /* "qwen3:4b": a tag, so it is Ollama's */
		return sl_provider_find(SL_STR("ollama"));
	for (size_t i = 0; i < SL_COUNT_OF(families); i++)
		if (sl_str_starts(model, sl_str(families[i].head)))
			return sl_provider_find(sl_str(families[i].provider));
	return NULL;
}

const struct sl_provider *sl_provider_find(struct sl_str id)
{
	for (const struct sl_provider *p = sl_provider_table; p->id; p++)
		if (sl_str_is(id, p->id))
			return p;
	return NULL;
}
