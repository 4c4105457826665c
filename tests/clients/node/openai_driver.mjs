// The `openai` package's realtime client: it opens wss:// only, so the server has a certificate.

import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { LAMP, Microphone, converse, tell } from './common.mjs';

const TOOL = {
  type: 'function',
  name: LAMP,
  description: 'Light the lamp.',
  parameters: { type: 'object', properties: { said: { type: 'boolean' } }, required: ['said'] },
};

await tell(async (task, ear) => {
  const client = new OpenAI({ apiKey: 'none', baseURL: `${task.url}/v1` });
  const live = new OpenAIRealtimeWS({ model: 'duologue' }, client);
  const microphone = new Microphone();
  let ready = false;

  live.on('error', (error) => ear.fail(error));
  live.on('session.updated', () => {
    ready = true;
  });
  live.on('session.created', () => {
    live.send({
      type: 'session.update',
      session: {
        type: 'realtime',
        tools: [TOOL],
        audio: { input: { transcription: { model: 'gpt-4o-mini-transcribe' } } },
      },
    });
  });
  live.on('conversation.item.input_audio_transcription.completed', (event) => {
    ear.heard.push(event.transcript);
  });
  live.on('response.output_audio.delta', (event) => {
    ear.answer(event.item_id).sound.push(Buffer.from(event.delta, 'base64'));
  });
  live.on('response.output_audio_transcript.delta', (event) => {
    ear.answer(event.item_id).text += event.delta;
  });
  live.on('response.done', (event) => {
    for (const item of event.response.output) {
      if (item.type === 'function_call') {
        const output = ear.call(JSON.parse(item.arguments));
        live.send({
          type: 'conversation.item.create',
          item: { type: 'function_call_output', call_id: item.call_id, output },
        });
        live.send({ type: 'response.create' });
      } else {
        const answer = ear.answer(item.id);
        answer.interrupted = event.response.status_details?.reason === 'turn_detected';
        answer.done = true;
      }
    }
  });

  await ear.until(() => ready, 'the session');
  microphone.stream((pcm) => {
    live.send({ type: 'input_audio_buffer.append', audio: pcm.toString('base64') });
  });
  await converse(task, microphone, ear, (text) => {
    const content = [{ type: 'input_text', text }];
    live.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content } });
    live.send({ type: 'response.create' });
  });
  microphone.stop();
  live.close();
});
