/* llm/provider.c: see provider.h. Default models are cheap general ones; a stored profile names its own. */
#include "llm/provider.h"

#include "llm/protocol.h"

const struct sl_provider sl_provider_table[] = {
	{"openai", "OPENAI_API_KEY", false, "https://api.openai.com/v1", "gpt-4.1-mini", &sl_protocol_openai,
	 SL_QUIRK_MAX_COMPLETION_TOKENS},
	{"anthropic", "ANTHROPIC_API_KEY", false, "https://api.anthropic.com", "claude-sonnet-4-5", NULL, 0},
	{"gemini", "GEMINI_API_KEY", false, "https://generativelanguage.googleapis.com", "gemini-2.5-flash", NULL, 0},
	{"deepseek", "DEEPSEEK_API_KEY", false, "https://api.deepseek.com/v1", "deepseek-chat", &sl_protocol_openai,
	 SL_QUIRK_NO_SCHEMA},
	{"groq", "GROQ_API_KEY", false, "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile",
	 &sl_protocol_openai, 0},
	{"openrouter", "OPENROUTER_API_KEY", false, "https://openrouter.ai/api/v1", "openai/gpt-4.1-mini",
	 &sl_protocol_openai, SL_QUIRK_REASONING_OBJECT},
	{"dashscope", "DASHSCOPE_API_KEY", false, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen-plus",
	 &sl_protocol_openai, SL_QUIRK_NO_SCHEMA},
	{"moonshot", "MOONSHOT_API_KEY", false, "https://api.moonshot.ai/v1", "kimi-latest", &sl_protocol_openai,
	 SL_QUIRK_NO_SCHEMA},
	{"azure", "AZURE_OPENAI_API_KEY", false, NULL, NULL, NULL, 0},
	{"bedrock", "AWS_ACCESS_KEY_ID", false, NULL, NULL, NULL, 0},
	{"ollama", "OLLAMA_HOST", true, "http://127.0.0.1:11434/v1", "llama3.2", &sl_protocol_openai, SL_QUIRK_KEYLESS},
	{"lmstudio", "LMSTUDIO_URL", true, "http://127.0.0.1:1234/v1", "local-model", &sl_protocol_openai,
	 SL_QUIRK_KEYLESS},
	{"openai-compatible", NULL, false, NULL, NULL, &sl_protocol_openai, SL_QUIRK_KEYLESS},
	{"sim", NULL, false, NULL, "sim", &sl_protocol_openai, SL_QUIRK_KEYLESS},
	{0},
};

const struct sl_provider *sl_provider_find(struct sl_str id)
{
	for (const struct sl_provider *p = sl_provider_table; p->id; p++)
		if (sl_str_is(id, p->id))
			return p;
	return NULL;
}
